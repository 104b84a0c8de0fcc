package config

import (
	"bytes"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files and documents anew")

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want Size
		out  string
		bad  string
	}{
		{"0", 0, "0", ""}, {"1", 1, "1", ""}, {"1b", 1, "1", ""}, {"1024", 1024, "1KiB", ""}, {"1500", 1500, "1500", ""},
		{"64KiB", 64 << 10, "64KiB", ""}, {"64kib", 64 << 10, "64KiB", ""}, {"64K", 64 << 10, "64KiB", ""}, {"64 MiB", 64 << 20, "64MiB", ""},
		{"3G", 3 << 30, "3GiB", ""}, {"2TiB", 2 << 40, "2TiB", ""}, {"1MB", 1e6, "1000000", ""}, {"1GB", 1e9, "1000000000", ""},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807", ""},
		{"9223372036854775808", 0, "", "is too large"}, {"8388608TiB", 0, "", "is too large"},
		{"", 0, "", "is not a size like 64MiB"}, {"MiB", 0, "", "is not a size"}, {"-1", 0, "", "is not a size"}, {"+1", 0, "", "is not a size"},
		{"1.5GiB", 0, "", "is not a size"}, {"1 2", 0, "", "is not a size"}, {"64Mi", 0, "", "is not a size"}, {"0x10", 0, "", "is not a size"},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.text)
		if tt.bad != "" {
			if err == nil || !strings.HasPrefix(err.Error(), tt.bad) {
				t.Errorf("%q: %d, %v; want %q", tt.text, got, err, tt.bad)
			}
			continue
		}
		if err != nil || got != tt.want || got.String() != tt.out {
			t.Errorf("%q: %d %s, %v; want %d %s", tt.text, got, got, err, tt.want, tt.out)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Second: "10s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 61 * time.Minute: "1h1m",
		100 * time.Millisecond: "100ms", time.Hour + time.Second: "1h0m1s", 0: "0s",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v prints %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%s reads as %v, %v", want, back, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	type check func(string) (string, error)
	tests := []struct {
		fn        check
		text, out string // out empty: refused with bad
		bad       string
	}{
		{checkPeer, "host", "host:9500", ""}, {checkPeer, "host:1", "host:1", ""}, {checkPeer, "10.0.0.1", "10.0.0.1:9500", ""},
		{checkPeer, "[::1]", "[::1]:9500", ""}, {checkPeer, "[fe80::1%eth0]:7", "[fe80::1%eth0]:7", ""}, {checkPeer, "a_b.c-d.", "a_b.c-d.:9500", ""},
		{checkPeer, "", "", "is empty"}, {checkPeer, ":9500", "", "has no host"}, {checkPeer, "host:", "", "has no port"}, {checkPeer, "host:0", "", "has port 0"},
		{checkPeer, "host:65536", "", "has no port"}, {checkPeer, "host:+1", "", "has no port"}, {checkPeer, "host:01", "", "has no port"},
		{checkPeer, "2001:db8::1", "", "write an IPv6 address in brackets, as in [2001:db8::1]:9500"}, {checkPeer, "[::1", "", "has a [ without ]"},
		{checkPeer, "[host]:1", "", "has something else than an IPv6 address"}, {checkPeer, "[1.2.3.4]", "", "has something else than an IPv6"},
		{checkPeer, "[::1]9500", "", "has something else than :PORT"}, {checkPeer, "9500", "", "has no host: for a port write HOST:9500"},
		{checkPeer, "a b", "", `has a host name with ' ' in it`}, {checkPeer, "-a", "", `has a host name with '-' in it`},
		{checkPeer, "http://a", "", "has no port"}, {checkPeer, strings.Repeat("a", 254), "", "has a host name of more than 253"},
		{checkBind, ":1", ":1", ""}, {checkBind, "0.0.0.0:0", "0.0.0.0:0", ""}, {checkBind, "[::]", "[::]:9500", ""}, {checkBind, "", "", "is empty"},
		{checkAdminBind, "localhost", "localhost:9502", ""},
		{checkAdvertise, "", "", ""}, {checkAdvertise, "a", "a", ""}, {checkAdvertise, "[::1]", "[::1]", ""}, {checkAdvertise, "[::]:5", "", "is no address"},
	}
	for _, tt := range tests {
		got, err := tt.fn(tt.text)
		if (err != nil) != (tt.bad != "") || got != tt.out || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%q: %q, %v; want %q, %q", tt.text, got, err, tt.out, tt.bad)
		}
	}
	for _, tt := range [][3]string{
		{"", ":9600", ""}, {"a", ":9600", "a:9600"}, {"[::1]", "0.0.0.0:9600", "[::1]:9600"}, {"a:1", ":9600", "a:1"}, {"a", ":0", "a:9500"},
	} {
		if got := completeAdvertise(tt[0], tt[1]); got != tt[2] {
			t.Errorf("advertise %q with bind %q is %q, want %q", tt[0], tt[1], got, tt[2])
		}
	}
}

func TestDidYouMean(t *testing.T) {
	list := []string{"compress", "chunk_size", "id"}
	for word, want := range map[string]string{
		"compres": "compress", "cmopress": "compress", "COMPRESS": "compress", "chunksize": "chunk_size", "ids": "id", "banana": "",
		"": "id", strings.Repeat("x", 1000): "",
	} {
		got := strings.TrimSuffix(strings.TrimPrefix(didYouMean(word, list), " (did you mean "), "?)")
		if got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"abcd", "badc", 2}, {"same", "same", 0}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// What Show writes must be a file that gives the same configuration.
func TestShow(t *testing.T) {
	environ := []string{"WOLFDISK_LOG_LEVEL=warn", "WOLFDISK_ADMIN_BIND=none"}
	files := map[string]string{defaultFile: "[node]\nid = \"n\\\"1\"\n"}
	files[defaultFile] = "[cluster]\npeers = [\"a\", \"b\"]\n"
	c, err := load(Master, []string{"-m", "/srv/\"x\"\\y", "--advertise", "nat"}, testEnv(environ, files))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Show(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/show.golden", out.Bytes())
	again, err := load(Master, nil, testEnv(nil, map[string]string{defaultFile: out.String()}))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if a, b := k.valueText(c), k.valueText(again); a != b {
			t.Errorf("%s: %s became %s", k, a, b)
		}
	}
}

func TestDocs(t *testing.T) {
	golden(t, "../../docs/configuration.md", Docs())
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run go generate ./node/config):\n%s", path, got)
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "[node]\nid = \"a\"", "a.b.c = {d = [1, {e = 2}]}", "[[node]]\n[node.x]", "\"\" = 1", "[\"\"]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values, problems := readTOML("f", data)
		for k, g := range values {
			if g.origin.Line < 1 || k.typeName() != "list" && len(g.texts) != 1 {
				t.Errorf("%s from line %d: %q", k, g.origin.Line, g.texts)
			}
		}
		for _, p := range problems {
			if p.Text == "" || p.Origin.Line < 1 {
				t.Errorf("problem %+v", p)
			}
		}
	})
}
