package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"wolfdisk/node/exit"
)

// testEnv is a machine that has nothing: root, host "host1", working directory /work.
func testEnv(environ []string, files map[string]string) *environment {
	env := newEnvironment(environ, func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	})
	env.euid = 0
	env.hostname = func() (string, error) { return "host1", nil }
	env.cwd = func() (string, error) { return "/work", nil }
	env.resolve = func(path string) (string, error) { return path, nil }
	return env
}

// base is a complete command line of each daemon.
func base(p Program) []string {
	if p == Slave {
		return []string{"--mount", "none"}
	}
	return []string{"--mirror", "/srv/data"}
}

type rowTest struct {
	def   string // the default as Show writes it, on a master
	text  string // a good value
	toml  string // the same in a file; "" if it is the text in quotes
	want  string // what it becomes, as Show writes it
	bad   string // a value that is refused
	badIs string // what the message says of it
}

var rowTests = map[string]rowTest{
	"node.id":                 {`"host1"`, "node-7", "", `"node-7"`, "a b", `"a b" is not a node ID: must be 1 to 64 letters`},
	"node.role":               {`"leader"`, "auto", "", `"auto"`, "boss", `"boss" is not known: must be auto, leader, follower or witness`},
	"node.data_dir":           {`"/var/lib/wolfdisk"`, "/x/state/", "", `"/x/state"`, "", `"" is empty: must be a path`},
	"node.bind":               {`"0.0.0.0:9500"`, "[::1]", "", `"[::1]:9500"`, "h:99999", `"h:99999" has no port from 1 to 65535 behind the colon: must be`},
	"node.advertise":          {`""`, "lb.example:9000", "", `"lb.example:9000"`, "0.0.0.0", `"0.0.0.0" is no address that others can reach`},
	"node.key_file":           {`"/etc/wolfdisk/cluster.key"`, "/k/key", "", `"/k/key"`, "", `"" is empty: must be a path`},
	"node.stop_timeout":       {`"10s"`, "1m30s", "", `"1m30s"`, "10", `"10" is not a duration like 10s or 1m30s: must be from 100ms to 1h`},
	"cluster.peers":           {`[]`, "a,[2001:db8::7]:1", `["a", "[2001:db8::7]:1"]`, `["a:9500", "[2001:db8::7]:1"]`, "a,b:x", `"a,b:x" has no port`},
	"cluster.discovery":       {`"multicast"`, "udp://239.1.2.3", "", `"udp://239.1.2.3:9501"`, "udp://10.0.0.1", `"udp://10.0.0.1" names no IPv4 multicast group, one from 224.0.0.0 to 239.255.255.255: must be`},
	"volume.name":             {`"wolfdisk"`, "projects", "", `"projects"`, "a,b", `"a,b" is not a name that can stand in a table of mounts`},
	"volume.dir":              {`"/srv/data"`, "/x/data", "", `"/x/data"`, "", `"" is empty: must be a path`},
	"volume.storage":          {`"dir"`, "chunks", "", `"chunks"`, "s3", `"s3" is not known: must be dir or chunks`},
	"volume.chunk_size":       {`"4MiB"`, "65536", "65536", `"64KiB"`, "3MiB", `"3MiB" is out of range: must be a power of two from 64KiB to 64MiB`},
	"volume.fsync":            {`"file"`, "log", "", `"log"`, "none", `"none" is not known: must be file or log`},
	"volume.compress":         {`1`, "9", "9", `9`, "10", `"10" is out of range: must be a number from 0 to 9`},
	"mount.dir":               {`"/srv/data"`, "/mnt/x", "", `"/mnt/x"`, "", `"" is empty: must be a path, or none`},
	"mount.driver":            {`"auto"`, "gofuse", "", `"gofuse"`, "nfs", `"nfs" is not known: must be auto, bazil or gofuse`},
	"mount.allow_other":       {`true`, "false", "false", `false`, "maybe", `"maybe" is neither true nor false: must be true or false`},
	"mount.read_only":         {`false`, "true", "true", `true`, "", `"" is neither true nor false`},
	"mount.suid":              {`false`, "true", "true", `true`, "2", `"2" is neither true nor false`},
	"mount.dev":               {`false`, "true", "true", `true`, "x", `"x" is neither true nor false`},
	"network.nodelay":         {`true`, "false", "false", `false`, "x", `"x" is neither true nor false`},
	"log.level":               {`"info"`, "debug", "", `"debug"`, "loud", `"loud" is not known: must be debug, info, warn or error`},
	"log.format":              {`"text"`, "json", "", `"json"`, "xml", `"xml" is not known: must be text or json`},
	"oplog.segment_size":      {`"64MiB"`, "8M", "", `"8MiB"`, "2GiB", `"2GiB" is out of range: must be from 1MiB to 1GiB`},
	"oplog.retain_bytes":      {`"1GiB"`, "64M", "", `"64MiB"`, "4k", `"4k" is out of range: must be from 1MiB to 1024TiB`},
	"oplog.retain_max":        {`"8GiB"`, "0", "0", `"0"`, "2000TiB", `"2000TiB" is out of range: must be from 0 to 1024TiB`},
	"oplog.retain_age":        {`"168h"`, "0s", "", `"0s"`, "a", `"a" is not a duration like 10s or 1m30s`},
	"chunks.pack_size":        {`"256MiB"`, "1MiB", "", `"1MiB"`, "2GiB", `"2GiB" is out of range: must be from 1MiB to 1GiB`},
	"chunks.gc_interval":      {`"10m"`, "0s", "", `"0s"`, "-1s", `"-1s" is out of range: must be from 0s to 720h`},
	"chunks.gc_grace":         {`"1h"`, "90s", "", `"1m30s"`, "-1s", `"-1s" is out of range: must be from 0s to 720h`},
	"chunks.compact_after":    {`"10m"`, "1s", "", `"1s"`, "-1s", `"-1s" is out of range: must be from 0s to 720h`},
	"safety.max_delete_ratio": {`0.5`, "0.25", "0.25", `0.25`, "1.5", `"1.5" is out of range: must be a number from 0 to 1`},

	"elect.safety":           {`"available"`, "durable", "", `"durable"`, "none", `"none" is not known: must be available, fenced or durable`},
	"elect.reclaim":          {`true`, "false", "false", `false`, "x", `"x" is neither true nor false`},
	"elect.preempt_delay":    {`"5s"`, "1m", "", `"1m"`, "1ms", `"1ms" is out of range: must be from 100ms to 24h`},
	"elect.boot_wait":        {`"30s"`, "1m", "", `"1m"`, "0s", `"0s" is out of range: must be from 1s to 24h`},
	"elect.on_boot_alone":    {`"auto"`, "wait", "", `"wait"`, "sleep", `"sleep" is not known: must be auto, lead or wait`},
	"replication.mode":       {`"shared"`, "replicated", "", `"replicated"`, "sync", `"sync" is not known: must be shared or replicated`},
	"replication.factor":     {`3`, "2", "2", `2`, "0", `"0" is out of range: must be a number from 1 to 64`},
	"replication.timeout":    {`"10s"`, "1s", "", `"1s"`, "0s", `"0s" is out of range: must be from 100ms to 24h`},
	"replication.on_timeout": {`"block"`, "eio", "", `"eio"`, "hang", `"hang" is not known: must be block, eio or degrade`},
	"replication.on_close":   {`false`, "true", "true", `true`, "x", `"x" is neither true nor false`},
	"hooks.on_leader":        {`""`, "/usr/local/bin/up", "", `"/usr/local/bin/up"`, "", `"" is empty: must be a path`},
	"hooks.on_follower":      {`""`, "/usr/local/bin/down", "", `"/usr/local/bin/down"`, "", `"" is empty: must be a path`},

	"s3.enabled":         {`false`, "true", "true", `true`, "x", `"x" is neither true nor false`},
	"s3.bind":            {`""`, "127.0.0.1", "", `"127.0.0.1:9878"`, "a b", `"a b" has a host name with ' ' in it`},
	"s3.access_key":      {`""`, "wolf-main", "", `"wolf-main"`, "a/b", `"a/b" is no access key: must be 1 to 128 letters`},
	"s3.secret_key":      {`""`, "s3cret/+", "", `"(not shown)"`, "a b", `has a character that is not printable: must be 1 to 128 printable`},
	"s3.secret_key_file": {`""`, "/k/secret", "", `"/k/secret"`, "", `"" is empty: must be a path`},
	"s3.keys": {`[]`, "", `[{access_key = "a", secret_key = "s3cret", buckets = ["x"], read_only = true}, {access_key = "b", secret_key_file = "/k/secret"}]`,
		`[{access_key = "a", secret_key = "(not shown)", buckets = ["x"], read_only = true}, {access_key = "b", secret_key_file = "/k/secret"}]`, "", `is a text, must be tables [[s3.keys]]`},
	"s3.anonymous":       {`false`, "true", "true", `true`, "x", `"x" is neither true nor false`},
	"s3.region":          {`"us-east-1"`, "wolf-1", "", `"wolf-1"`, "A", `"A" is no region: must be 1 to 63`},
	"s3.domains":         {`[]`, "S3.wolf.test,b", `["s3.wolf.test", "b"]`, `["s3.wolf.test", "b"]`, "a:1", `"a:1" is no host name: must be a list of host names`},
	"s3.buckets":         {`{}`, "", `{photos = "/media/photos/"}`, `{"photos" = "media/photos"}`, "", `is a text, must be a table [s3.buckets]`},
	"s3.uid":             {`0`, "1000", "1000", `1000`, "-1", `"-1" is out of range: must be a number from 0 to 4294967294`},
	"s3.gid":             {`0`, "1000", "1000", `1000`, "-1", `"-1" is out of range: must be a number from 0 to 4294967294`},
	"s3.file_mode":       {`"0644"`, "640", "", `"0640"`, "1777", `"1777" is out of range: must be an octal number from 0001 to 0777`},
	"s3.dir_mode":        {`"0755"`, "0700", "", `"0700"`, "9", `"9" is no octal number: must be`},
	"s3.upload_expiry":   {`"168h"`, "24h", "", `"24h"`, "1s", `"1s" is out of range: must be from 1m to 87600h`},
	"s3.opaque_etags":    {`false`, "true", "true", `true`, "x", `"x" is neither true nor false`},
	"s3.cors_origins":    {`[]`, "https://a.test,*", `["https://a.test", "*"]`, `["https://a.test", "*"]`, "a.test", `"a.test" is no origin like https://example.org: must be`},
	"s3.max_connections": {`4096`, "10", "10", `10`, "0", `"0" is out of range: must be a number from 1 to 1048576`},
	"s3.max_requests":    {`256`, "10", "10", `10`, "0", `"0" is out of range: must be a number from 1 to 65536`},
	"s3.rate":            {`0`, "10", "10", `10`, "-1", `"-1" is out of range: must be a number from 0 to 1000000`},
	"s3.tls_cert":        {`""`, "/t/cert.pem", "", `"/t/cert.pem"`, "", `"" is empty: must be a path`},
	"s3.tls_key":         {`""`, "/t/key.pem", "", `"/t/key.pem"`, "", `"" is empty: must be a path`},

	"admin.bind": {`"127.0.0.1:9502"`, "none", "", `"none"`, "::1", `"::1" has colons: write an IPv6 address in brackets, as in [::1]:9500`},
}

// rowNeeds are other lines of the section without which a key makes no sense.
var rowNeeds = map[string]string{
	"s3.bind":            "enabled = true\n",
	"s3.access_key":      "secret_key = \"s3cret\"\n",
	"s3.secret_key":      "access_key = \"a\"\n",
	"s3.secret_key_file": "access_key = \"a\"\n",
	"s3.tls_cert":        "tls_key = \"/t/key.pem\"\n",
	"s3.tls_key":         "tls_cert = \"/t/cert.pem\"\n",
}

func keyNamed(t *testing.T, name string) *Key {
	t.Helper()
	for _, k := range keys {
		if k.Section+"."+k.Name == name {
			return k
		}
	}
	t.Fatalf("no key %s", name)
	return nil
}

// Every row of the table, through every way a value can come.
func TestRows(t *testing.T) {
	for _, k := range keys {
		name := k.Section + "." + k.Name
		row, ok := rowTests[name]
		if !ok {
			t.Errorf("%s has no test", name)
			continue
		}
		t.Run(name, func(t *testing.T) { testRow(t, k, row) })
	}
	for name := range rowTests {
		keyNamed(t, name)
	}
}

func testRow(t *testing.T, k *Key, row rowTest) {
	inFile := func(text, toml string) string {
		if toml == "" {
			toml = quoteTOML(text)
		}
		return fmt.Sprintf("# a comment\n[%s]\n%s = %s\n%s", k.Section, k.Name, toml, rowNeeds[k.Section+"."+k.Name])
	}
	// -m would win over what is under test.
	args := base(Master)
	if name := k.Section + "." + k.Name; name == "volume.dir" || name == "mount.dir" {
		args = nil
	}
	files := func(text string) map[string]string {
		m := map[string]string{defaultFile: text, "/k/secret": "s3cret\n"}
		if needs := rowNeeds[k.Section+"."+k.Name]; text == "" && needs != "" {
			m[defaultFile] = "[" + k.Section + "]\n" + needs
		}
		if args == nil && k.Name == "dir" && k.Section == "mount" {
			m[defaultFile] = "[volume]\ndir = \"/srv/data\"\n" + text
		}
		return m
	}

	c, err := load(Master, base(Master), testEnv(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := k.valueText(c); got != row.def {
		t.Errorf("default is %s, want %s", got, row.def)
	}

	c, err = load(Master, args, testEnv(nil, files(inFile(row.text, row.toml))))
	if err != nil {
		t.Fatalf("file: %v", err)
	}
	if got := k.valueText(c); got != row.want {
		t.Errorf("file gives %s, want %s", got, row.want)
	}
	if o := c.origins[k]; o.Source != FromFile || o.Name != defaultFile || o.Line < 3 {
		t.Errorf("origin is %v", o)
	}

	if k.fileOnly() {
		_, err = load(Master, args, testEnv([]string{k.Env() + "=x"}, files("")))
		wantProblem(t, err, exit.Config, k.Env()+": unknown variable")
		_, err = load(Master, args, testEnv(nil, files(inFile(row.bad, ""))))
		wantProblem(t, err, exit.Config, defaultFile+":3: "+k.String()+": "+row.badIs)
		return
	}
	c, err = load(Master, args, testEnv([]string{k.Env() + "=" + row.text}, files("")))
	if err != nil {
		t.Fatalf("variable: %v", err)
	}
	if got := k.valueText(c); got != row.want {
		t.Errorf("variable gives %s, want %s", got, row.want)
	}
	if o := c.origins[k].String(); o != k.Env() {
		t.Errorf("origin is %s", o)
	}

	_, err = load(Master, args, testEnv([]string{k.Env() + "=" + row.bad}, files("")))
	wantProblem(t, err, exit.Config, k.Env()+": "+k.String()+": "+row.badIs)
	for _, f := range k.Flags {
		if f.Programs&Daemons != 0 {
			testRowFlag(t, k, f, row)
		}
	}
}

func testRowFlag(t *testing.T, k *Key, f Flag, row rowTest) {
	if f.Invert || f.Value != "" {
		return // has a test of its own
	}
	for p := Master; p <= Slave; p <<= 1 {
		if f.Programs&p == 0 {
			continue
		}
		forms := [][]string{{"--" + f.Name, row.text}, {"--" + f.Name + "=" + row.text}}
		if f.Short != "" {
			forms = append(forms, []string{"-" + f.Short, row.text}, []string{"-" + f.Short + row.text})
		}
		want := row.want
		if f.Name == "role" && p == Slave {
			forms, want = [][]string{{"--role", "follower"}, {"--role=follower"}}, `"follower"`
		}
		for _, form := range forms {
			args := append(base(p), form...)
			if f.Name == "mirror" {
				args = form
			}
			c, err := load(p, args, testEnv(nil, nil))
			if err != nil {
				t.Errorf("%s %v: %v", p, form, err)
				continue
			}
			if got := k.valueText(c); got != want {
				t.Errorf("%s %v gives %s, want %s", p, form, got, want)
			}
			if o := c.origins[k].String(); o != "--"+f.Name {
				t.Errorf("%s %v: origin is %s", p, form, o)
			}
		}
		args := append(base(p), "--"+f.Name+"="+row.bad)
		if f.Name == "mirror" {
			args = []string{"--mirror=" + row.bad}
		}
		_, err := load(p, args, testEnv(nil, nil))
		wantProblem(t, err, exit.Usage, "--"+f.Name+": "+k.String()+": "+row.badIs)
	}
}

func wantProblem(t *testing.T, err error, code exit.Code, text string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", text)
		return
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("message\n%v\nwant\n%s", err, text)
	}
	if got := exit.Of(err); got != code {
		t.Errorf("exit code %d for %q, want %d", got, err, code)
	}
	var p Problems
	if errors.As(err, &p) && len(p) == 0 {
		t.Error("an empty list of problems is an error")
	}
}

// The table itself must be consistent, as nobody else checks it.
func TestTable(t *testing.T) {
	flags := map[Program]map[string]string{}
	for _, k := range keys {
		if k.Doc == "" || k.Programs == 0 || k.field == nil {
			t.Errorf("%s is incomplete", k)
		}
		typ := k.typeName()
		if (typ == "integer" || typ == "size" || typ == "duration") != (k.Max > k.Min) {
			t.Errorf("%s: a range belongs to numbers, sizes and durations", k)
		}
		if typ == "string" && len(k.OneOf) == 0 && (k.check == nil || k.format == "") {
			t.Errorf("%s: a text needs a check and a format", k)
		}
		if k.rangeText() == "" {
			t.Errorf("%s: nothing says what is accepted", k)
		}
		for _, f := range k.Flags {
			if f.Help == "" {
				t.Errorf("--%s has no help", f.Name)
			}
			for p := Master; p <= Ctl; p <<= 1 {
				if f.Programs&p == 0 || f.Short == "" {
					continue
				}
				if flags[p] == nil {
					flags[p] = map[string]string{}
				}
				if other := flags[p][f.Short]; other != "" && other != f.Name {
					t.Errorf("%s: -%s is both --%s and --%s", p, f.Short, other, f.Name)
				}
				flags[p][f.Short] = f.Name
			}
		}
	}
}
