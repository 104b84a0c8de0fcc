// Command fuseprobe finds out whether this machine can mount FUSE file systems: it
// mounts one with the library the daemons use, has a child look at it, and unmounts
// it. It prints what works, or what is missing and how to get it, and exits with 69.
package main
