package contrib

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// supervises marks the part of the stand-in for daemon(8) that stays.
const supervises = "RC_TEST_SUPERVISES"

// standInDaemon does what daemon(8) of FreeBSD does with the flags that the scripts
// use: it goes to the background, supervises, starts again whatever ends, and when it
// gets SIGTERM passes it on and leaves without waiting.
func standInDaemon(args []string) {
	fs := flag.NewFlagSet("daemon", flag.ExitOnError)
	fs.Bool("c", false, "")
	fs.Bool("f", false, "")
	fs.Bool("S", false, "")
	pidFile := fs.String("P", "", "")
	delay := fs.Int("R", 0, "")
	output := fs.String("o", "", "")
	fs.String("t", "", "")
	fs.String("T", "", "")
	fs.Parse(args)
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "daemon:", err)
			os.Exit(1)
		}
	}
	if os.Getenv(supervises) == "" {
		self, err := os.Executable()
		fail(err)
		cmd := exec.Command(self, args...)
		cmd.Args[0] = "daemon"
		cmd.Env = append(os.Environ(), supervises+"=yes")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		fail(cmd.Start())
		for { // as daemon(8), which has written the file when it returns
			if text, err := os.ReadFile(*pidFile); err == nil && string(text) == strconv.Itoa(cmd.Process.Pid) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fail(os.WriteFile(*pidFile, []byte(strconv.Itoa(os.Getpid())), 0o600))
	log, err := os.OpenFile(*output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if *output == "" {
		log, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	fail(err)
	leave := func() {
		os.Remove(*pidFile)
		os.Exit(1)
	}
	for {
		child := exec.Command(fs.Arg(0), fs.Args()[1:]...)
		child.Stdout, child.Stderr = log, log
		fail(child.Start())
		ended := make(chan error, 1)
		go func() { ended <- child.Wait() }()
		select {
		case <-signals:
			child.Process.Signal(syscall.SIGTERM)
			leave()
		case <-ended:
		}
		select {
		case <-signals:
			leave()
		case <-time.After(time.Duration(*delay) * time.Second):
		}
	}
}
