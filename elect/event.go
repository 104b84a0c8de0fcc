package elect

import (
	"time"

	"wolfdisk/volume"
)

// Event is what a host tells its machine.
type Event interface{ event() }

// Tick says that time has passed. One comes at least every half [Timing.Heartbeat].
type Tick struct{}

// Local says how this node's copy and disk are. It comes whenever anything but
// the position changes, at least every [Timing.Heartbeat], and just before Tick.
type Local struct {
	Copy Copy
	// Failed: the disk has refused a write or a sync.
	Failed bool
	// Since is when the oldest append or apply began that has not come back, by the
	// machine's clock; 0 if none is under way.
	Since time.Duration
}

// Remembered says whom the cluster remembers, at the start and after each change.
type Remembered struct{ Members Members }

// PeerUp says that a session with a peer began: what was received from it before is void.
type PeerUp struct {
	ID string
	// Newer: this node remembers the peer as removed, and the peer's copy holds all that this one does
	// and more: it knows better, and is taken for what it says it is.
	Newer bool
}

// Expelled says that a peer has refused or ended a session because this node was removed from the
// cluster, and that it knows what this copy does not.
type Expelled struct{ By string }

// PeerDown says that the session with a peer ended.
type PeerDown struct{ ID string }

// PeerRefused says that connecting to a peer was refused: its machine runs, and nobody
// listens there. Timeouts and broken routes are nothing of that kind.
type PeerRefused struct{ ID string }

// Received brings a message from an authenticated session with From.
type Received struct {
	From    string
	Message Message
}

// Saved says that the state of a [Save], and all before it, is on disk, and that all
// effects before it are done. Copy is how the copy is after that: once a promise
// is saved, nothing of a lower epoch is applied any more.
type Saved struct {
	Seq  uint64
	Copy Copy
}

// SaveFailed says that nothing is known about the disk: the machine promises nothing more.
type SaveFailed struct{ Err error }

// CaughtUp answers [CatchUp]: the copy has all of it, on disk as far as fsync of an op asks.
type CaughtUp struct {
	Epoch volume.Epoch
	Copy  Copy
}

// CatchUpFailed answers [CatchUp].
type CatchUpFailed struct {
	Epoch volume.Epoch
	Err   error
}

// Ready answers [Lead]: writes can be accepted.
type Ready struct{ Epoch volume.Epoch }

// SteppedDown answers [StepDown]: no handler runs, and none will acknowledge an op of that epoch.
type SteppedDown struct{ Epoch volume.Epoch }

// LeadFailed answers [Lead], or says later that the leader cannot go on.
type LeadFailed struct {
	Epoch volume.Epoch
	Err   error
}

// Drained answers [Drain]: no handler runs, and Copy is final as long as the gate is shut.
type Drained struct {
	Epoch volume.Epoch
	Copy  Copy
}

// Resolved answers [Resolve]: the conflict record is complete and Copy has no op behind
// the last version in common.
type Resolved struct{ Copy Copy }

// ResolveFailed answers [Resolve]: nothing has been changed.
type ResolveFailed struct{ Err error }

// Promote asks that this node lead.
type Promote struct {
	Request       uint64
	AllowDataLoss bool          // without the members that could have led, and without a majority
	For           time.Duration // it fails after that; 0: [Timing.Request]
}

// Demote asks that this node follow, and not ask for the lead again.
type Demote struct {
	Request       uint64
	AllowDataLoss bool          // even if nobody can take over
	For           time.Duration // as in Promote
}

// Handover asks the leader to hand over to To, or to the first that can if To is empty.
type Handover struct {
	Request uint64
	To      string
	For     time.Duration // as in Promote
}

// Cancel says that nobody waits for the answer to a request any more. What has not begun does not
// begin.
type Cancel struct{ Request uint64 }

func (Tick) event()          {}
func (Local) event()         {}
func (Remembered) event()    {}
func (PeerUp) event()        {}
func (PeerDown) event()      {}
func (Expelled) event()      {}
func (PeerRefused) event()   {}
func (Received) event()      {}
func (Saved) event()         {}
func (SaveFailed) event()    {}
func (CaughtUp) event()      {}
func (CatchUpFailed) event() {}
func (Ready) event()         {}
func (LeadFailed) event()    {}
func (SteppedDown) event()   {}
func (Drained) event()       {}
func (Resolved) event()      {}
func (ResolveFailed) event() {}
func (Promote) event()       {}
func (Demote) event()        {}
func (Handover) event()      {}
func (Cancel) event()        {}
