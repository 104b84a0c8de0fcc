package elect

import (
	"time"

	"wolfdisk/volume"
)

// Effect is what a machine wants done. See "The host" in the package comment for the
// order.
type Effect interface{ effect() }

// Send sends a message over the present session with a peer; without one it is dropped.
type Send struct {
	To      string
	Message Message
}

// Save makes the state durable, and is answered by [Saved] or [SaveFailed]. From the moment
// the effect is seen, sessions of a leader below State.Promise are refused with it.
type Save struct {
	Seq   uint64
	State State
}

// Gate opens or shuts the entry for ops. An op enters while it is open and the clock is
// below Until; else it waits for the next Gate, Lead or Follow.
type Gate struct {
	Open  bool
	Until time.Duration // by the machine's clock
	Why   string        // it is shut
}

// Lead makes this node the leader in an epoch, and is answered by [Ready] or [LeadFailed].
// The epoch enters the log with its first op, and Participants with it.
type Lead struct {
	Epoch        volume.Epoch
	Participants []string
}

// StepDown ends this node's reign: sessions with its followers end, running handlers come
// to their end. Calls that wait go on waiting, for Lead or Follow. Answered by [SteppedDown].
type StepDown struct {
	Epoch volume.Epoch
	Why   string
}

// Follow makes this node follow a leader. Without a leader sessions with the last one end
// and the copy stays as it is.
type Follow struct {
	Leader string
	Epoch  volume.Epoch
}

// CatchUp pulls ops from a peer through a position. Answered by [CaughtUp] or [CatchUpFailed].
type CatchUp struct {
	Epoch   volume.Epoch
	From    string
	Through volume.Position
}

// Drain asks for [Drained] once no handler runs. The gate has been shut.
type Drain struct{ Epoch volume.Epoch }

// Resolve says that this copy lost a fork: what it holds behind Common becomes a conflict
// record, which is verified and complete before anything is changed. Answered by [Resolved]
// or [ResolveFailed].
type Resolve struct {
	With   string // who holds the winning copy
	Common volume.Version
	Winner Copy
}

// Alarm tells the operator.
type Alarm struct {
	Reason AlarmReason
	Peer   string
	Text   string
}

// AlarmOver takes back what an [Alarm] said of a peer.
type AlarmOver struct {
	Reason AlarmReason
	Peer   string
}

// AlarmReason is why an operator is needed.
type AlarmReason uint8

const (
	AlarmDamaged     AlarmReason = iota // the same position and another digest
	AlarmOtherVolume                    // the peer holds another volume, or is of another cluster
	AlarmStore                          // a member came with another store: wiped or replaced
	AlarmSetBack                        // a member forgot a promise: its disk was set back
	AlarmEpochs                         // the last epoch there can be is promised
	AlarmState                          // the state could not be saved
)

// Done ends a request; Err is nil if it was fulfilled.
type Done struct {
	Request uint64
	Err     error
}

func (Send) effect()      {}
func (Save) effect()      {}
func (Gate) effect()      {}
func (Lead) effect()      {}
func (StepDown) effect()  {}
func (Follow) effect()    {}
func (CatchUp) effect()   {}
func (Drain) effect()     {}
func (Resolve) effect()   {}
func (Alarm) effect()     {}
func (AlarmOver) effect() {}
func (Done) effect()      {}
