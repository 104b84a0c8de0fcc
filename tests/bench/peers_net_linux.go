package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// machines is how many there are: the writer's is 1, the others follow.
const machines = 3

// address of a machine.
func address(i int) string { return fmt.Sprintf("10.98.77.%d", i) }

// inside is the beginning of a command that runs on a machine.
func inside(i int, args ...string) []string {
	return append([]string{"nsenter", fmt.Sprintf("--net=/run/netns/s%d", i)}, args...)
}

// buildNet makes the machines: network namespaces at one bridge. It is only to be
// called in namespaces of the program's own, with which everything goes away.
func buildNet() error {
	if os.Getpid() > 100 {
		return errors.New("not in a process namespace of its own: start this with tests/bench/compare.sh")
	}
	script := "mkdir -p /run/netns; mount -t tmpfs none /run/netns; ip link set lo up; ip link add br0 type bridge; ip link set br0 up\n"
	for i := 1; i <= machines; i++ {
		script += fmt.Sprintf("ip netns add s%[1]d; ip link add v%[1]d type veth peer name eth0 netns s%[1]d; ip link set v%[1]d master br0 up\n"+
			"ip -n s%[1]d addr add %[2]s/24 dev eth0; ip -n s%[1]d link set eth0 up; ip -n s%[1]d link set lo up\n", i, address(i))
	}
	return cluster.Shell("/", script, time.Minute).OK()
}

// cable pulls the cable of the writer's machine, or plugs it in.
func cable(in bool) error {
	state := "down"
	if in {
		state = "up"
	}
	return cluster.Run("ip", "-n", "s1", "link", "set", "eth0", state).OK()
}

// sentBytes counts what went through the writer's cable, both ways.
func sentBytes() (int64, error) {
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0, err
	}
	_, line, ok := strings.Cut(string(text), "v1:")
	f := strings.Fields(line)
	if !ok || len(f) < 9 {
		return 0, fmt.Errorf("/proc/net/dev: no v1 in %q", text)
	}
	in, err1 := strconv.ParseInt(f[0], 10, 64)
	out, err2 := strconv.ParseInt(f[8], 10, 64)
	return in + out, errors.Join(err1, err2)
}

// killMachines ends every process on the machines at once, as a power cut does.
func killMachines() error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := 0
		for i := 1; i <= machines; i++ {
			r := cluster.Run("ip", "netns", "pids", fmt.Sprint("s", i))
			if err := r.OK(); err != nil {
				return err
			}
			for _, word := range strings.Fields(r.Stdout) {
				pid, err := strconv.Atoi(word)
				if err != nil {
					return err
				}
				if !zombie(pid) {
					left++
				}
				if err := unix.Kill(pid, syscall.SIGKILL); err != nil && err != unix.ESRCH {
					return err
				}
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of the machines do not end", left)
		}
	}
}

// zombie tells whether a process has ended and is only not waited for: some daemons'
// children are nobody's.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z")
}
