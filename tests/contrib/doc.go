// Package contrib tests what lies in contrib: units, rc.d scripts, the helper of
// mount(8), and how they are installed. Scripts of another system run here against
// stand-ins: testdata/rc.subr for that of FreeBSD, and this test program under the name
// daemon for daemon(8). What mounts needs root and FUSE, and the programs, which lie
// in WDTEST_BIN or are built.
package contrib
