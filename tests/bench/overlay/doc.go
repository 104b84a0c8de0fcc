// Command overlay lays our FUSE overlay over a directory with recording off: the
// same front end, index and real directory as a leader's, without the log and without
// followers. It is what benchmarks compare the leader with; it keeps nothing and is
// not meant for data.
//
//	overlay MOUNTPOINT DIR [DRIVER]
//
// DRIVER is one of [mount] driver: auto, bazil or gofuse.
package main
