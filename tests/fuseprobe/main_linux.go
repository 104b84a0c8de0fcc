package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"bazil.org/fuse"
	"golang.org/x/sys/unix"
)

func main() {
	dir, err := os.MkdirTemp("", "fuseprobe-")
	if err == nil {
		err = probe(dir)
		unix.Unmount(dir, unix.MNT_DETACH) // of a failed probe; there may be no mount
		err = errors.Join(err, os.Remove(dir))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "FUSE is not usable: %v\n%s\n", err, hint())
		os.Exit(69)
	}
	fmt.Println("FUSE is usable.")
}

func hint() string {
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return "fusermount3 is missing: apt-get install fuse3"
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		return "/dev/fuse cannot be opened: modprobe fuse; in a container, add --device /dev/fuse --cap-add SYS_ADMIN"
	} else if err := f.Close(); err != nil {
		return err.Error()
	}
	return "/dev/fuse and fusermount3 are there: mounting is probably forbidden here; in a container, add --cap-add SYS_ADMIN --security-opt apparmor=unconfined"
}

// probe mounts a directory with the unlikely mode 0513 and lets a child see it.
func probe(dir string) error {
	conn, err := fuse.Mount(dir, fuse.FSName("probe"), fuse.Subtype("fuseprobe"))
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(conn) }()
	if err := look(dir); err != nil {
		return err
	}
	if err := fuse.Unmount(dir); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	select {
	case err := <-served:
		return errors.Join(err, conn.Close())
	case <-time.After(10 * time.Second):
		return errors.New("the connection is still open 10 s after the unmount")
	}
}

func look(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "stat", "-c", "%a", dir).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "513" {
		return fmt.Errorf("stat of the mount: %q instead of 513, %v", got, err)
	}
	return nil
}

func serve(conn *fuse.Conn) error {
	for {
		req, err := conn.ReadRequest()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		switch req := req.(type) {
		case *fuse.GetattrRequest:
			req.Respond(&fuse.GetattrResponse{Attr: fuse.Attr{Inode: 1, Mode: os.ModeDir | 0o513, Nlink: 2}})
		case *fuse.DestroyRequest:
			req.Respond()
		default:
			req.RespondError(fuse.Errno(unix.ENOSYS))
		}
	}
}
