package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"strings"

	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// answerDigest answers a volume.RequestDigest.
func (n *node) answerDigest(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	if role := w.Peer().Role; role == volume.RoleClient || role == volume.RoleWitness {
		return volume.Errorf(volume.NotPermitted, "a %s compares nothing", role)
	}
	what, id, rest, err := parseDigest(body)
	if err != nil {
		return err
	}
	switch what {
	case digestHold:
		h, v, err := n.holdCopy()
		if err != nil {
			return err
		}
		defer n.verify.copies.leave(h)
		return w.Last(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, h.id), uint64(v)))
	case digestVerify:
		return n.answerVerify(ctx, rest, w)
	}
	h, err := n.verify.copies.enter(id, what != digestTake && what != digestEnd)
	if err != nil {
		return err
	}
	defer n.verify.copies.leave(h)
	switch what {
	case digestTake:
		if len(rest) != 8 {
			return volume.Errorf(volume.BadFormat, "a version of %d bytes", len(rest))
		}
		p, err := h.take(ctx, volume.Version(binary.BigEndian.Uint64(rest)))
		if err != nil {
			return err
		}
		return w.Last(p.Digest[:])
	case digestEnd:
		n.verify.copies.drop(h)
		return nil
	case digestFind:
		if len(rest) > maxVerifyPath {
			return volume.Errorf(volume.BadFormat, "a path of %d bytes", len(rest))
		}
		e, err := h.find(ctx, string(rest))
		if err != nil {
			return err
		}
		_, err = w.Write(e.Append(nil))
		return err
	}
	out := bufio.NewWriterSize(writer{w}, 32<<10)
	if err := h.answer(ctx, what, rest, out); err != nil {
		return err
	}
	return out.Flush()
}

// writer is an AnswerWriter as an io.Writer only.
type writer struct{ w *wire.AnswerWriter }

func (w writer) Write(b []byte) (int, error) { return w.w.Write(b) }

// answer answers what is a list.
func (h *heldCopy) answer(ctx context.Context, what byte, rest []byte, out *bufio.Writer) error {
	var buf []byte
	switch what {
	case digestList:
		if len(rest) != 8 {
			return volume.Errorf(volume.BadFormat, "an inode ID of %d bytes", len(rest))
		}
		return h.list(ctx, volume.Ino(binary.BigEndian.Uint64(rest)), func(e *index.Entry) error {
			buf = e.Append(buf[:0])
			return writeSized(out, buf)
		})
	case digestHash:
		files, err := parseFiles(rest)
		if err != nil {
			return err
		}
		return h.hash(ctx, files, func(got *verifyHash) error {
			buf = appendHash(buf[:0], got)
			_, err := out.Write(buf)
			return err
		})
	case digestCheck:
		return h.check(ctx, func(path, what string) error {
			if err := writeSized(out, []byte(path[:min(len(path), maxVerifyPath)])); err != nil {
				return err
			}
			return writeSized(out, []byte(strings.ToValidUTF8(what[:min(len(what), maxVerifyText)], "")))
		})
	}
	return volume.Errorf(volume.Unsupported, "part %d of a comparison is not known here", what)
}

// answerVerify compares all nodes for a follower that was asked to: a line per message.
func (n *node) answerVerify(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	var opt verifyOptions
	if len(body) > maxVerifyPath+1024 {
		return volume.Errorf(volume.BadFormat, "a request to compare of %d bytes", len(body))
	}
	if err := json.Unmarshal(body, &opt); err != nil {
		return volume.Errorf(volume.BadFormat, "request to compare: %w", err)
	}
	if n.leading() == nil {
		return volume.Errorf(volume.Unavailable, "node %s does not lead", n.cfg.Node.ID)
	}
	return n.compareAll(ctx, opt, func(l admin.VerifyLine) error {
		b, err := json.Marshal(l)
		if err != nil {
			return volume.Wrap(err, "encode a line of the comparison")
		}
		return w.Send(b)
	})
}
