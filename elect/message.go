package elect

import (
	"fmt"
	"time"

	"wolfdisk/volume"
)

// Message is what one machine says to another, over an authenticated session.
type Message interface {
	kind() uint8
	visit(c coder)
	check() error
}

const (
	// MaxMessageLen bounds an encoded message, in bytes; nearly all of it can be lineage.
	MaxMessageLen = 1 << 20
	// maxReigns bounds a lineage in a message.
	maxReigns = 16384
	// minReign is the least that a reign takes, in bytes.
	minReign = 8 + 1 + 4 + 8 + 2
	// messageFormat is the first byte of every message.
	messageFormat = 1
)

// Flags of a heartbeat.
const (
	flagMayLead    uint8 = 1 << 0 // eligible: see Machine.eligible
	flagReady      uint8 = 1 << 1 // and would claim now if there were no leader
	flagConsistent uint8 = 1 << 2
	flagDemoted    uint8 = 1 << 3

	flagsAll = flagMayLead | flagReady | flagConsistent | flagDemoted
)

// Heartbeat is sent every [Timing.Heartbeat] to every connected peer. To a leader that is
// obeyed it is also the answer to its last one.
type Heartbeat struct {
	Started  int64         // which run of the sender
	Seq      uint64        // grows within a run
	Sent     time.Duration // the sender's clock
	Echo     time.Duration // Sent of the peer's last heartbeat, if the sender obeys it as leader; else 0
	Promise  volume.Epoch  // on the sender's disk
	Leading  volume.Epoch  // zero unless the sender leads
	Claiming volume.Epoch  // zero unless it is about to
	Position volume.Position
	Store    volume.ID
	Role     volume.Role
	Flags    uint8
}

// Ask asks when the peer last heard the leader, and for its copy.
type Ask struct{ Round uint64 }

// Answer answers an Ask.
type Answer struct {
	Round   uint64
	Promise volume.Epoch
	Leader  volume.Epoch  // the last leader it heard, other than the asker
	Heard   time.Duration // how long ago
	Left    time.Duration // until it takes that leader for dead, if nothing comes; 0: it does already
	Strange bool          // the asker was wiped or set back, and would be refused
	Copy    Copy
}

// Claim asks a peer to promise an epoch.
type Claim struct {
	Epoch   volume.Epoch
	Consent volume.Epoch // of a leader that hands over; else zero
}

// ClaimAnswer grants or refuses a claim. A granted one was on disk before it was sent, and
// Copy is what the peer held when nothing of a lower epoch could reach it any more.
type ClaimAnswer struct {
	Epoch   volume.Epoch
	Granted bool
	Promise volume.Epoch
	Left    time.Duration // refused because a leader is heard: as in Answer
	Copy    Copy
}

// HandoverAsk asks the leader to hand over to the sender.
type HandoverAsk struct {
	Reign  volume.Epoch // the leader's
	Insist bool         // an operator asked: no preempt delay
}

// HandoverRefused answers a HandoverAsk that is not followed.
type HandoverRefused struct {
	Reign volume.Epoch
	Why   string
}

// HandoverGo tells the sender's follower to claim: the leader holds all calls, and its
// history ends at Position.
type HandoverGo struct {
	Reign    volume.Epoch
	Position volume.Position
	Keep     bool // an operator chose the receiver: nobody reclaims from it
}

// MaxWhyLen bounds the reason in a refusal, in bytes.
const MaxWhyLen = 250

const (
	kindHeartbeat uint8 = 1 + iota
	kindAsk
	kindAnswer
	kindClaim
	kindClaimAnswer
	kindHandoverAsk
	kindHandoverRefused
	kindHandoverGo
)

func (*Heartbeat) kind() uint8       { return kindHeartbeat }
func (*Ask) kind() uint8             { return kindAsk }
func (*Answer) kind() uint8          { return kindAnswer }
func (*Claim) kind() uint8           { return kindClaim }
func (*ClaimAnswer) kind() uint8     { return kindClaimAnswer }
func (*HandoverAsk) kind() uint8     { return kindHandoverAsk }
func (*HandoverRefused) kind() uint8 { return kindHandoverRefused }
func (*HandoverGo) kind() uint8      { return kindHandoverGo }

func newMessage(kind uint8) Message {
	switch kind {
	case kindHeartbeat:
		return &Heartbeat{}
	case kindAsk:
		return &Ask{}
	case kindAnswer:
		return &Answer{}
	case kindClaim:
		return &Claim{}
	case kindClaimAnswer:
		return &ClaimAnswer{}
	case kindHandoverAsk:
		return &HandoverAsk{}
	case kindHandoverRefused:
		return &HandoverRefused{}
	case kindHandoverGo:
		return &HandoverGo{}
	}
	return nil
}

// Encode makes a message's bytes: format, kind, fields. It refuses what Decode would: of
// kind Invalid, or TooBig if the lineage has grown beyond what can be sent.
func Encode(m Message) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, volume.Errorf(volume.Invalid, "encode %T: %w", m, err)
	}
	w := &writer{b: []byte{messageFormat, m.kind()}}
	m.visit(w)
	if len(w.b) > MaxMessageLen {
		return nil, volume.Errorf(volume.TooBig, "encode %T: %d bytes, at most %d can be sent", m, len(w.b), MaxMessageLen)
	}
	return w.b, nil
}

// Decode reads a message; every error is of kind BadFormat, or WrongVersion.
func Decode(b []byte) (Message, error) {
	bad := func(why any) error { return volume.Errorf(volume.BadFormat, "election message: %v", why) }
	if len(b) < 2 || len(b) > MaxMessageLen {
		return nil, bad("length")
	}
	if b[0] != messageFormat {
		return nil, volume.Errorf(volume.WrongVersion, "election message: format %d, this program knows %d", b[0], messageFormat)
	}
	m := newMessage(b[1])
	if m == nil {
		return nil, bad("unknown kind")
	}
	r := &reader{b: b[2:]}
	m.visit(r)
	if err := r.end(); err != nil {
		return nil, bad(err)
	}
	if err := m.check(); err != nil {
		return nil, bad(err)
	}
	return m, nil
}

func (h *Heartbeat) visit(c coder) {
	started := uint64(h.Started)
	c.u64(&started)
	h.Started = int64(started)
	c.u64(&h.Seq)
	visitDuration(c, &h.Sent)
	visitDuration(c, &h.Echo)
	visitEpoch(c, &h.Promise)
	visitEpoch(c, &h.Leading)
	visitEpoch(c, &h.Claiming)
	visitPosition(c, &h.Position)
	c.fixed(h.Store[:])
	c.u8((*uint8)(&h.Role), uint8(volume.RoleWitness))
	c.u8(&h.Flags, flagsAll)
}

func (h *Heartbeat) check() error {
	if h.Sent < 0 || h.Echo < 0 || h.Role > volume.RoleWitness || h.Flags > flagsAll {
		return fmt.Errorf("heartbeat: number out of range")
	}
	return checkEpochs(h.Promise, h.Leading, h.Claiming, h.Position.Epoch)
}

func (a *Ask) visit(c coder) { c.u64(&a.Round) }
func (a *Ask) check() error  { return nil }

func (a *Answer) visit(c coder) {
	c.u64(&a.Round)
	visitEpoch(c, &a.Promise)
	visitEpoch(c, &a.Leader)
	visitDuration(c, &a.Heard)
	visitDuration(c, &a.Left)
	visitBool(c, &a.Strange)
	a.Copy.visit(c)
}

func (a *Answer) check() error {
	if a.Heard < 0 || a.Left < 0 {
		return fmt.Errorf("answer: negative time")
	}
	if err := checkEpochs(a.Promise, a.Leader); err != nil {
		return err
	}
	return a.Copy.check()
}

func (m *Claim) visit(c coder) {
	visitEpoch(c, &m.Epoch)
	visitEpoch(c, &m.Consent)
}

func (m *Claim) check() error { return checkEpochs(m.Epoch, m.Consent) }

func (a *ClaimAnswer) visit(c coder) {
	visitEpoch(c, &a.Epoch)
	visitBool(c, &a.Granted)
	visitEpoch(c, &a.Promise)
	visitDuration(c, &a.Left)
	a.Copy.visit(c)
}

func (a *ClaimAnswer) check() error {
	if a.Left < 0 {
		return fmt.Errorf("claim answer: negative time")
	}
	if err := checkEpochs(a.Epoch, a.Promise); err != nil {
		return err
	}
	return a.Copy.check()
}

func (m *HandoverAsk) visit(c coder) {
	visitEpoch(c, &m.Reign)
	visitBool(c, &m.Insist)
}

func (m *HandoverAsk) check() error { return checkEpochs(m.Reign) }

func (m *HandoverRefused) visit(c coder) {
	visitEpoch(c, &m.Reign)
	c.str(&m.Why, MaxWhyLen)
}

func (m *HandoverRefused) check() error {
	if len(m.Why) > MaxWhyLen {
		return fmt.Errorf("refusal: reason of %d bytes", len(m.Why))
	}
	for i := range len(m.Why) {
		if m.Why[i] < ' ' || m.Why[i] > '~' {
			return fmt.Errorf("refusal: reason cannot be printed")
		}
	}
	return checkEpochs(m.Reign)
}

func (m *HandoverGo) visit(c coder) {
	visitEpoch(c, &m.Reign)
	visitPosition(c, &m.Position)
	visitBool(c, &m.Keep)
}

func (m *HandoverGo) check() error { return checkEpochs(m.Reign, m.Position.Epoch) }

func (k *Copy) visit(c coder) {
	c.fixed(k.Cluster[:])
	c.fixed(k.Volume[:])
	visitPosition(c, &k.Position)
	n := len(k.Lineage)
	c.list(&n, maxReigns, minReign)
	if n != len(k.Lineage) {
		k.Lineage = make(volume.Lineage, n)
	}
	for i := range k.Lineage {
		r := &k.Lineage[i]
		visitEpoch(c, &r.Epoch)
		visitVersion(c, &r.First)
		visitIDs(c, &r.Participants)
	}
	visitVersion(c, &k.Durable)
	visitIDs(c, &k.Voters)
	for _, p := range []*bool{&k.Consistent, &k.Reconciling, &k.Founder} {
		visitBool(c, p)
	}
}

// check refuses a copy that nobody can hold: the comparisons rely on it.
func (k *Copy) check() error {
	if err := checkEpochs(k.Position.Epoch); err != nil {
		return err
	}
	if len(k.Lineage) > maxReigns {
		return fmt.Errorf("copy: lineage of %d reigns, at most %d", len(k.Lineage), maxReigns)
	}
	var last volume.Reign
	for _, r := range k.Lineage {
		if err := checkEpochs(r.Epoch); err != nil {
			return err
		}
		if r.First <= last.First || r.Epoch.Number <= last.Epoch.Number || r.First > k.Position.Version {
			return fmt.Errorf("copy: lineage is not in order")
		}
		if err := checkIDs(r.Participants); err != nil {
			return err
		}
		last = r
	}
	if k.Position.Version == 0 && k.Position != (volume.Position{}) {
		return fmt.Errorf("copy: version 0 of some history")
	}
	if k.Position.Version != 0 && (len(k.Lineage) == 0 || k.Lineage[0].First != 1 || last.Epoch != k.Position.Epoch) {
		return fmt.Errorf("copy: position is not on its lineage")
	}
	return checkIDs(k.Voters)
}

func checkIDs(ids []string) error {
	if len(ids) > volume.MaxParticipants {
		return fmt.Errorf("list of %d nodes, at most %d", len(ids), volume.MaxParticipants)
	}
	for _, id := range ids {
		if err := volume.CheckNodeID(id); err != nil {
			return err
		}
	}
	return nil
}

func checkEpochs(list ...volume.Epoch) error {
	for _, e := range list {
		if err := checkEpoch(volume.BadFormat, e); err != nil {
			return err
		}
	}
	return nil
}
