package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/fusefs"
	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/volume"
)

func main() {
	driver := fusefs.DriverAuto
	switch len(os.Args) {
	case 3:
	case 4:
		driver = os.Args[3]
	default:
		fmt.Fprintln(os.Stderr, "usage: overlay MOUNTPOINT DIR [DRIVER]")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], driver); err != nil {
		fmt.Fprintln(os.Stderr, "overlay:", err)
		os.Exit(1)
	}
}

func run(mountpoint, dir, driver string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	unix.Umask(0)
	state, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), "overlay-state-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	log := zerolog.New(os.Stderr).Level(zerolog.WarnLevel)
	d, err := hostdir.Open(hostdir.Options{Path: dir, StateDir: state, Volume: volume.ID{1}, Store: volume.ID{1}, New: true, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	e, err := index.Open(index.Options{FS: vfs.Default, Dir: filepath.Join(state, "index"), Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	l, err := master.New(master.Options{
		Tree: index.NewTree(e, d), Dir: d, Log0: log,
		Epoch: volume.Epoch{Number: 1, Leader: "overlay"}, Participants: []string{"overlay"},
	})
	if err != nil {
		return err
	}
	srv, err := fusefs.Mount(ctx, l, fusefs.Options{Dir: mountpoint, FSName: "overlay", Driver: driver, AllowOther: true, Log: log})
	if err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		if err := srv.Unmount(context.Background()); err != nil {
			log.Error().Err(err).Msg("unmount")
		}
	}()
	return srv.Wait()
}
