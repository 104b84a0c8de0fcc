package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"wolfdisk/volume"
)

// killGroup takes setgid from a file whose group may not execute it, before somebody who is not of
// that group changes its content, or its owner or group: the kernel has asked for the other privileges to go, but leaves
// this one (since Linux 6.2 local file systems take it away: setattr_should_drop_sgid). The
// volume does not know who is of which group.
func (k *core) killGroup(c *call, ino volume.Ino) error {
	if c.caller.UID == 0 || !k.nodes.flagged(ino, nodeSGID) {
		return nil
	}
	a, err := k.vol.GetAttr(c.ctx, ino)
	if err != nil {
		return err
	}
	if !a.IsFile() || a.Mode&volume.ModeSetGID == 0 || a.Mode&0o010 != 0 || isMember(&c.caller, a.GID) {
		return nil
	}
	c.req = volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode, Mode: a.Mode & volume.ModePerm &^ volume.ModeSetGID}
	_, err = k.do(c)
	return err
}

// isMember reports whether a caller is of a group. Of further groups only Linux tells, and of
// those who are in another PID namespace nobody does.
func isMember(c *volume.Caller, gid uint32) bool {
	if c.GID == gid {
		return true
	}
	if runtime.GOOS != "linux" || c.PID == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(status, []byte("\nGroups:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	for word := range bytes.FieldsSeq(line) {
		if g, err := strconv.ParseUint(string(word), 10, 32); err == nil && uint32(g) == gid {
			return true
		}
	}
	return false
}
