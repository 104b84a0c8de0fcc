// Command wolfdisk-master is the daemon that shares a directory: it leads when it can, and follows
// while another node leads.
package main
