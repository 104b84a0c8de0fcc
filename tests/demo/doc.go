// Command demo shows in half a minute what WolfDisk does: a leader and a follower as
// real processes in a temporary folder, a source tree unpacked into the leader, both
// trees compared, each daemon killed with -9 while files are written. Every claim it
// prints has been checked; it ends with PASS, or says what failed and exits with 1.
// It leaves nothing behind, except with --keep.
package main
