package config

import (
	"strings"
	"testing"

	"wolfdisk/node/exit"
)

func loadS3(t *testing.T, text string, environ ...string) (*Config, error) {
	t.Helper()
	return load(Master, append(base(Master), "--config", "/c.toml"),
		testEnv(environ, map[string]string{"/c.toml": text, "/k/secret": "fromfile\r\nmore\n", "/k/empty": "\n"}))
}

// TestS3Bind: without keys only this machine reaches the gateway, unless it is said that
// everybody may.
func TestS3Bind(t *testing.T) {
	const pair = "access_key = \"a\"\nsecret_key = \"s\"\n"
	for _, tt := range []struct{ name, text, want, problem string }{
		{"off", "", "", ""},
		{"no keys", "enabled = true\n", "127.0.0.1:9878", ""},
		{"keys", "enabled = true\n" + pair, "0.0.0.0:9878", ""},
		{"empty keys are none", "enabled = true\naccess_key = \"\"\nsecret_key = \"\"\n", "127.0.0.1:9878", ""},
		{"a table of keys", "enabled = true\n[[s3.keys]]\n" + pair, "0.0.0.0:9878", ""},
		{"anonymous", "enabled = true\nanonymous = true\n", "0.0.0.0:9878", ""},
		{"no keys, loopback", "enabled = true\nbind = \"127.0.0.2:1\"\n", "127.0.0.2:1", ""},
		{"no keys, IPv6 loopback", "enabled = true\nbind = \"[::1]:1\"\n", "[::1]:1", ""},
		{"no keys, localhost", "enabled = true\nbind = \"localhost\"\n", "localhost:9878", ""},
		{"no keys, all", "enabled = true\nbind = \"0.0.0.0:9878\"\n", "", `c.toml:3: [s3] bind: "0.0.0.0:9878" can be reached from other machines, and there are no keys`},
		{"no keys, no host", "enabled = true\nbind = \":9878\"\n", "", `can be reached from other machines`},
		{"no keys, a name", "enabled = true\nbind = \"server1\"\n", "", `can be reached from other machines`},
		{"anonymous, all", "enabled = true\nanonymous = true\nbind = \":1\"\n", ":1", ""},
		{"anonymous with keys", "enabled = true\nanonymous = true\n" + pair, "", "[s3] anonymous: there are keys"},
		{"not enabled", "bind = \"0.0.0.0\"\n", "0.0.0.0:9878", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadS3(t, "[s3]\n"+tt.text)
			if tt.problem != "" {
				wantProblem(t, err, exit.Config, tt.problem)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.S3.Bind != tt.want {
				t.Errorf("bind is %q, want %q", c.S3.Bind, tt.want)
			}
		})
	}
}

func TestS3Keys(t *testing.T) {
	c, err := loadS3(t, `[s3]
access_key = "main"
secret_key = "mainsecret"
[[s3.keys]]
access_key = "reader"
secret_key_file = "/k/secret"
buckets = ["photos", "films"]
read_only = true
[s3.buckets]
photos = "media/photos"
`)
	if err != nil {
		t.Fatal(err)
	}
	p := c.S3.Pairs
	if len(p) != 2 || p[0].Access != "main" || p[0].Secret != "mainsecret" || p[1].Secret != "fromfile" || !p[1].ReadOnly || len(p[1].Buckets) != 2 || p[0].ReadOnly {
		t.Errorf("pairs %+v", p)
	}
	if !c.S3.SecretsInFile() || len(c.S3.SecretFiles()) != 1 || c.S3.Buckets["photos"] != "media/photos" {
		t.Errorf("%v, %v, %v", c.S3.SecretsInFile(), c.S3.SecretFiles(), c.S3.Buckets)
	}
	var shown strings.Builder
	if err := c.Show(&shown); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"mainsecret", "fromfile"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("a secret is shown:\n%s", shown.String())
		}
	}
	if !strings.Contains(shown.String(), `access_key = "reader"`) {
		t.Errorf("keys are not shown:\n%s", shown.String())
	}
	c, err = loadS3(t, "", "WOLFDISK_S3_ENABLED=true", "WOLFDISK_S3_ACCESS_KEY=e", "WOLFDISK_S3_SECRET_KEY_FILE=/k/secret")
	if err != nil || len(c.S3.Pairs) != 1 || c.S3.Pairs[0].Secret != "fromfile" || c.S3.SecretsInFile() || c.S3.Bind != "0.0.0.0:9878" {
		t.Errorf("by variables: %v, %+v", err, c)
	}
}

func TestS3Problems(t *testing.T) {
	table := func(text string) string { return "[[s3.keys]]\n" + text }
	for _, tt := range []struct{ name, text, want string }{
		{"half a pair", "[s3]\naccess_key = \"a\"\n", "c.toml:2: [s3] access_key: needs its secret"},
		{"secret alone", "[s3]\nsecret_key = \"hunter22\"\n", "c.toml:2: [s3] secret_key: belongs to [s3] access_key, which is missing"},
		{"two secrets", "[s3]\naccess_key = \"a\"\nsecret_key = \"s\"\nsecret_key_file = \"/k/secret\"\n", "one of the two is enough"},
		{"no such file", "[s3]\naccess_key = \"a\"\nsecret_key_file = \"/k/none\"\n", "c.toml:3: [s3] secret_key_file: read the secret of \"a\": open /k/none"},
		{"empty file", "[s3]\naccess_key = \"a\"\nsecret_key_file = \"/k/empty\"\n", "/k/empty: the first line is empty"},
		{"twice", "[s3]\naccess_key = \"a\"\nsecret_key = \"s\"\n" + table("access_key = \"a\"\nsecret_key = \"t\"\n"), `the access key "a" is there twice`},
		{"unknown name", table("access_key = \"a\"\nsecret = \"s\"\n"), "c.toml:1: [s3] keys: pair 1: unknown key secret"},
		{"type", table("access_key = 5\nsecret_key = \"s\"\n"), "pair 1: access_key is a number, must be a text in quotes"},
		{"no access key", table("secret_key = \"s\"\n"), `pair 1: access_key "" is no access key`},
		{"no secret", table("access_key = \"a\"\n"), `the access key "a" needs either secret_key or secret_key_file`},
		{"relative file", table("access_key = \"a\"\nsecret_key_file = \"x\"\n"), `secret_key_file "x" is relative`},
		{"no buckets", table("access_key = \"a\"\nsecret_key = \"s\"\nbuckets = []\n"), "buckets is empty"},
		{"read only", table("access_key = \"a\"\nsecret_key = \"s\"\nread_only = \"yes\"\n"), "read_only is a text, must be true or false"},
		{"one table", "[s3.keys]\naccess_key = \"a\"\n", "[s3] keys: is a section, must be tables [[s3.keys]]"},
		{"bucket outside", "[s3.buckets]\nphotos = \"../x\"\n", `[s3] buckets: photos: "../x" is no directory of the volume`},
		{"bucket reserved", "[s3.buckets]\nphotos = \".wolfdisk/x\"\n", `is no directory of the volume`},
		{"bucket's name", "[s3.buckets]\nPhotos = \"x\"\n", `"Photos" is no name of a bucket`},
		{"half of TLS", "[s3]\ntls_key = \"/t/k\"\n", "c.toml:2: [s3] tls_key: TLS needs both"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadS3(t, tt.text)
			wantProblem(t, err, exit.Config, tt.want)
			if err != nil && strings.Contains(err.Error(), "hunter22") {
				t.Errorf("the message has the secret: %v", err)
			}
		})
	}
	_, err := loadS3(t, "", "WOLFDISK_S3_SECRET_KEY=hunter22")
	wantProblem(t, err, exit.Config, "WOLFDISK_S3_SECRET_KEY: unknown variable (did you mean WOLFDISK_S3_SECRET_KEY_FILE? secrets are read from files)")
}
