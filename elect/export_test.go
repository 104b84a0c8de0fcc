package elect

// Bug is a mistake that the tests plant in a machine.
type Bug int

const (
	NoBug       Bug = iota
	NoFencing       // neither obeys its promise nor a higher epoch
	NoVeto          // claims and grants although a leader is heard
	Unsynced        // leads without catching up
	EqualEpochs     // claims an epoch that is not above all others
	DropFork        // planted in the host of the simulation: it adopts without a record
)

// Plant makes the machine err.
func (m *Machine) Plant(b Bug) {
	m.bugs = bugs{noFencing: b == NoFencing, noVeto: b == NoVeto, unsynced: b == Unsynced, equalEpochs: b == EqualEpochs}
}
