package cli

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"wolfdisk/node/exit"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "a\x1b[2Jb": "a\uFFFD[2Jb", "\xff": "\uFFFD", "ä b": "ä b", "a\nb": "a\uFFFDb"} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q", in, got)
		}
	}
	for in, want := range map[string]string{"abc": "abc", "a b": `"a b"`, "": `""`, "a\x1b": `"a\x1b"`, "\xff": `"\xff"`, `a"`: `"a\""`, "ä": "ä"} {
		if got := Name(in); got != want {
			t.Errorf("Name(%q) = %s", in, got)
		}
	}
	for in, want := range map[string]string{"/srv/data": "/srv/data", "a b": "'a b'", "": "''", "it's": `'it'\''s'`, "$x": "'$x'", "ä": "'ä'"} {
		if got := Shell(in); got != want {
			t.Errorf("Shell(%q) = %s", in, got)
		}
	}
	for in, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10 << 10: "10.0 KiB", 100 << 10: "100 KiB", 1 << 20: "1.00 MiB",
		1023 << 10: "1.00 MiB", 5 << 30: "5.00 GiB", math.MaxUint64: "16.0 EiB"} {
		if got := Bytes(in); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", in, got, want)
		}
	}
}

func TestExecute(t *testing.T) {
	tests := []struct {
		args []string
		code exit.Code
		text string
	}{
		{[]string{"good"}, exit.OK, ""},
		{[]string{"bad"}, exit.Failed, "tool: it is bad\n"},
		{[]string{"unsafe"}, exit.Unsafe, "tool: a\ntool: b\n"},
		{[]string{"quiet"}, exit.Degraded, ""},
		{nil, exit.Usage, "say what to do: "},
		{[]string{"nothing"}, exit.Usage, `unknown command "nothing"`},
		{[]string{"good", "x"}, exit.Usage, `unknown command "x" for "tool good"`},
		{[]string{"good", "--vresion"}, exit.Usage, "unknown flag: --vresion"},
		{[]string{"--version"}, exit.OK, "tool devel"},
	}
	for _, tt := range tests {
		root := &cobra.Command{Use: "tool"}
		Root(root)
		for name, err := range map[string]error{"good": nil, "bad": errors.New("it is bad"), "unsafe": exit.Errorf(exit.Unsafe, "a\nb"), "quiet": Quiet(exit.Degraded)} {
			root.AddCommand(&cobra.Command{Use: name, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return err }})
		}
		var out bytes.Buffer
		if code := Execute(root, tt.args, &out, &out); code != tt.code || !strings.Contains(out.String(), tt.text) || tt.text == "" && out.Len() > 0 {
			t.Errorf("%v: code %d, want %d, %q", tt.args, code, tt.code, out.String())
		}
	}
}
