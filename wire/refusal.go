package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"wolfdisk/volume"
)

// Codes of what can end a session or keep one from beginning. They are stable:
// operators search for them.
const (
	CodeUnauthorized = "WD-1301" // the peer holds another cluster key
	CodeCluster      = "WD-1302" // the peer belongs to another cluster
	CodeVolume       = "WD-1303" // the peer holds another volume
	CodeVersion      = "WD-1304" // no common protocol version
	CodeFenced       = "WD-1305" // the session's epoch is below a promise
	CodeDuplicate    = "WD-1306" // two nodes have one ID
	CodeIdentity     = "WD-1307" // the hello does not match the certificate
	CodeMalformed    = "WD-1308" // the peer sent what is no valid message
	CodeCopied       = "WD-1309" // another daemon with this node's ID and store
	CodeOther        = "WD-1399" // anything else; the text says what
)

const (
	maxCodeLen = 16
	// maxTextLen bounds the text of an error that travels, in bytes.
	maxTextLen = 1 << 10
)

// ErrSelf is why there is no session with an address at which this daemon itself answers. One list of
// peers for all nodes is usual, so that is nothing to complain of.
var ErrSelf = volume.Errorf(volume.Busy, "this node itself answers there")

// codeOf is the code of a refusal that its author gave none.
func codeOf(kind volume.Kind) string {
	switch kind {
	case volume.Unauthorized:
		return CodeUnauthorized
	case volume.WrongCluster:
		return CodeCluster
	case volume.WrongVolume:
		return CodeVolume
	case volume.WrongVersion:
		return CodeVersion
	case volume.Fenced:
		return CodeFenced
	case volume.BadFormat:
		return CodeMalformed
	}
	return CodeOther
}

// Refusal is why a session was refused or ended, in a form that travels. A Handler
// returns one to choose the code or to name its promise; any other error is turned
// into one. It unwraps to its Kind.
type Refusal struct {
	Kind    volume.Kind
	Code    string       // e.g. CodeFenced; empty: chosen by Kind
	Text    string       // what is wrong and what to do
	Promise volume.Epoch // the highest epoch this node obeys, if Kind is Fenced
	Peer    bool         // said by the peer, not by this node; does not travel
}

func (r *Refusal) Error() string {
	who := ""
	if r.Peer {
		who = "peer: "
	}
	text := r.Text
	if text == "" {
		text = r.Kind.Error()
	}
	if r.Kind == volume.Fenced && !r.Promise.IsZero() {
		return fmt.Sprintf("%s: %s%s (promised %s)", r.Code, who, text, r.Promise)
	}
	return fmt.Sprintf("%s: %s%s", r.Code, who, text)
}

// Unwrap makes errors.Is and volume.KindOf see the kind.
func (r *Refusal) Unwrap() error { return r.Kind }

func findRefusal(err error) *Refusal {
	var r *Refusal
	errors.As(err, &r)
	return r
}

// refusalOf turns any error into a refusal that fits into a message.
func refusalOf(err error) *Refusal {
	out := Refusal{}
	if r := findRefusal(err); r != nil {
		out = *r
		out.Peer = false
	} else {
		out = Refusal{Kind: volume.KindOf(err), Text: err.Error()}
	}
	if out.Code == "" || len(out.Code) > maxCodeLen {
		out.Code = codeOf(out.Kind)
	}
	out.Text = cleanText(out.Text)
	return &out
}

// refuse is a refusal by this node.
func refuse(kind volume.Kind, code, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Code: code, Text: fmt.Sprintf(format, args...)}
}

// cleanText cuts a text to what may travel, and replaces what would upset a
// terminal or a log: the text of a peer is input like any other.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxTextLen {
		return s
	}
	s = s[:maxTextLen]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

func (r *Refusal) visit(c coder) {
	c.array(4)
	visitUint(c, &r.Kind)
	c.str(&r.Code, maxCodeLen)
	c.str(&r.Text, maxTextLen)
	visitEpoch(c, &r.Promise)
}

func encodeRefusal(r *Refusal) []byte {
	b, err := encode(r.visit)
	if err != nil {
		panic("wire: encode a refusal: " + err.Error()) // into memory: cannot fail
	}
	return b
}

func decodeRefusal(b []byte) (*Refusal, error) {
	r := &Refusal{}
	if err := decode(b, r.visit); err != nil {
		return nil, volume.Wrap(err, "decode a refusal")
	}
	r.Code, r.Text, r.Peer = cleanText(r.Code), cleanText(r.Text), true
	return r, nil
}
