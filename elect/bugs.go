package elect

// Bug is a mistake that tests plant in a machine, to show that they would see it.
type Bug int

const (
	NoBug       Bug = iota
	NoFencing       // neither obeys its promise nor a higher epoch
	NoVeto          // claims and grants although a leader is heard
	Unsynced        // leads without catching up
	EqualEpochs     // claims the epoch again that it led or claimed before
	Unsaved         // grants and follows before the promise is on disk
	NoLease         // keeps the gate open without a majority
	DropFork        // planted in the host of the simulation: it adopts without a record
)

// Plant makes the machine err. It is for the simulations, here and in tests/sim; tests/arch sees to it
// that nothing else plants anything.
func (m *Machine) Plant(b Bug) {
	m.bugs = bugs{noFencing: b == NoFencing, noVeto: b == NoVeto, unsynced: b == Unsynced, equalEpochs: b == EqualEpochs, unsaved: b == Unsaved, noLease: b == NoLease}
}
