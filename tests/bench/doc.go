// Command bench measures a leader with one live follower against what it is to be
// compared with, in one run on one disk:
//
//	bare      the directory itself
//	overlay   a bare FUSE overlay of ours with recording off (--overlay PROGRAM,
//	          called with MOUNTPOINT and DIR, ends when it is unmounted)
//	bindfs    the Debian package
//	leader    wolfdisk-master with a wolfdisk-slave beside it
//
// Rounds are interleaved: each workload runs on all systems, in another order each
// round, before the next one. The report gives medians and ratios, then the table
// of required figures with pass or fail. Exit code 1 means that a figure was missed
// or not measured; the report is complete in any case.
//
// Ratios of rates are leader / other, ratios of times too: the requirement says
// which way is better. Absolute numbers say more about the machine than about
// WolfDisk.
package main
