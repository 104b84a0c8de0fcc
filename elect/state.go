package elect

import "wolfdisk/volume"

// State is what must outlive a run of the node. The machine changes Promise alone.
type State struct {
	Cluster volume.ID
	NodeID  string
	Store   volume.ID    // made with the state directory, so a wiped node is recognised
	Promise volume.Epoch // the highest epoch this node agreed to obey
	Boot    string       // the boot in which the daemon last ran
	Clean   bool         // it stopped cleanly
}
