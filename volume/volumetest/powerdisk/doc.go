// Package powerdisk is a real file system for tests that take its power away: what was not
// synced is gone, as on a machine that goes down. It needs Linux, root and loop devices; tests
// are skipped without.
package powerdisk
