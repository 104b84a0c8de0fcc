package admin

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetricsFormat: what is served is read as Prometheus reads it, and follows its
// rules of naming.
func TestMetricsFormat(t *testing.T) {
	f := newFake()
	f.status.Peers = append(f.status.Peers, Peer{ID: "quoted \"\\\n", Role: "follower", State: PeerDisconnected, LagOps: 7, LagBytes: 8, LagSeconds: 9.5})
	s := start(t, Options{Source: f})
	code, header, text := request(t, s, "GET", "/metrics", nil)
	if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d, type %q", code, header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"connected": 0, "lag_ops": 7, "lag_bytes": 8, "lag_seconds": 9.5} {
		family, found := families["wolfdisk_peer_"+name], false
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "peer" && l.GetValue() == "quoted \"\\\n" {
					found = true
					if got := m.GetGauge().GetValue(); got != want {
						t.Errorf("%s is %v, want %v", name, got, want)
					}
				}
			}
		}
		if !found {
			t.Errorf("no wolfdisk_peer_%s of the peer", name)
		}
	}
	for name, family := range families {
		if strings.HasPrefix(name, "wolfdisk_") && family.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
