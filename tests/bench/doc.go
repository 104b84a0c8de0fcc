// Command bench measures a leader with live followers against what it is to be
// compared with, in one run on one disk:
//
//	bare      the directory itself
//	overlay   a bare FUSE overlay of ours with recording off (--overlay PROGRAM,
//	          called with MOUNTPOINT and DIR, ends when it is unmounted)
//	bindfs    the Debian package
//	leader    wolfdisk-master with a wolfdisk-slave beside it
//	leader-2  the same with two of them (--followers)
//
// Rounds are interleaved: each workload runs on all systems, in another order each
// round, before the next one. The report gives medians and ratios, then the table
// of required figures with pass or fail. Exit code 1 means that a figure was missed
// or not measured; the report is complete in any case.
//
// Ratios of rates are leader / other, ratios of times too: the requirement says
// which way is better. Absolute numbers say more about the machine than about
// WolfDisk.
//
// # S3
//
// The gateway of a leader with a follower is timed beside versitygw's posix gateway over
// the mount of that leader and over a bare directory: PUT and GET of three sizes by one and
// by 16 clients, and a list of all keys. Without versitygw in the path its columns are
// empty, and the report says so. Nothing is required of these figures.
//
// # Beside other programs
//
// compare.sh makes the table of README.md: WolfDisk, lsyncd and GlusterFS on machines
// that are network namespaces, one program after the other. Nothing is required of its
// figures. Rows and columns are comparedRows and comparedColumns, to which a test holds
// README.md; a step of peerSteps measures some rows of one column through what an
// application sees of the mounts or directories, so that all programs are measured in
// the same way. "The other side has it" means that a look at it found everything; what
// counts is when that look began.
package main
