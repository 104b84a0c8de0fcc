package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wolfdisk/node/version"
)

const metricsTimeout = 10 * time.Second

// metric is one row of what is derived from the status.
type metric struct {
	desc  *prometheus.Desc
	value func(*Status) float64
}

// chunkMetric is absent on a node without chunks.
type chunkMetric struct {
	desc  *prometheus.Desc
	value func(*Chunks) uint64
}

type peerMetric struct {
	desc  *prometheus.Desc
	value func(*Peer) float64
}

// statusCollector makes metrics from one status per scrape, so that they belong
// together. What a node does not know (a peer that left) is absent, not stale.
type statusCollector struct {
	source      Source
	info, state *prometheus.Desc
	own         []metric
	chunks      []chunkMetric
	peers       []peerMetric
}

func newStatusCollector(source Source) *statusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("wolfdisk_"+name, help, labels, nil)
	}
	c := &statusCollector{
		source: source,
		info:   desc("info", "Always 1; the labels say who and what the node is.", "node_id", "cluster_id", "volume_id", "software", "role"),
		state:  desc("state", "Always 1; the label is the node's state.", "state"),
	}
	gauge := func(name, help string, fn func(*Status) float64) {
		c.own = append(c.own, metric{desc(name, help), fn})
	}
	gauge("leader", "1 if this node leads.", func(s *Status) float64 { return one(s.Role == "leader") })
	gauge("mounted", "1 if the volume is mounted.", func(s *Status) float64 { return one(s.Mount.Path != "") })
	gauge("epoch", "Number of the epoch that wrote the last op.", func(s *Status) float64 { return float64(s.Position.Epoch) })
	gauge("version", "Number of the last op that is part of the volume.", func(s *Status) float64 { return float64(s.Position.Version) })
	gauge("durable_version", "Number of the last op that is durable here.", func(s *Status) float64 { return float64(s.DurableVersion) })
	gauge("oplog_first_version", "Number of the oldest op in the log.", func(s *Status) float64 { return float64(s.Oplog.First) })
	gauge("oplog_last_version", "Number of the newest op in the log.", func(s *Status) float64 { return float64(s.Oplog.Last) })
	gauge("oplog_bytes", "Size of the log on disk.", func(s *Status) float64 { return float64(s.Oplog.Bytes) })
	gauge("volume_files", "Inodes in the volume.", func(s *Status) float64 { return float64(s.Files) })
	gauge("volume_bytes", "Sum of the sizes of the volume's regular files.", func(s *Status) float64 { return float64(s.Bytes) })
	gauge("conflicts_open", "Conflict records nobody has settled.", func(s *Status) float64 { return float64(s.ConflictsOpen) })
	gauge("warnings", "Warnings that are open.", func(s *Status) float64 { return float64(len(s.Warnings)) })
	gauge("peers", "Other nodes this node knows.", func(s *Status) float64 { return float64(len(s.Peers)) })
	chunk := func(name, help string, fn func(*Chunks) uint64) {
		c.chunks = append(c.chunks, chunkMetric{desc("chunks_"+name, help), fn})
	}
	chunk("held", "Chunks in the store.", func(s *Chunks) uint64 { return s.Count })
	chunk("bytes", "Content of all chunks.", func(s *Chunks) uint64 { return s.Bytes })
	chunk("stored_bytes", "What all chunks take, compressed.", func(s *Chunks) uint64 { return s.StoredBytes })
	chunk("dedup_hits", "Chunks since the start that were there already when they were to be stored.", func(s *Chunks) uint64 { return s.DedupHits })
	chunk("marked", "Chunks found unused that are removed after the grace time.", func(s *Chunks) uint64 { return s.Marked })
	chunk("packs", "Files that hold chunks.", func(s *Chunks) uint64 { return s.Packs })
	chunk("pack_bytes", "Size of the files that hold chunks.", func(s *Chunks) uint64 { return s.PackBytes })
	chunk("dead_bytes", "Part of pack_bytes that holds nothing any more.", func(s *Chunks) uint64 { return s.DeadBytes })
	peer := func(name, help string, fn func(*Peer) float64) {
		c.peers = append(c.peers, peerMetric{desc("peer_"+name, help, "peer", "role"), fn})
	}
	peer("connected", "1 if there is a session with the peer.", func(p *Peer) float64 { return one(p.State != PeerDisconnected) })
	peer("received_version", "Number of the last op the peer has received.", func(p *Peer) float64 { return float64(p.Received) })
	peer("applied_version", "Number of the last op the peer has applied.", func(p *Peer) float64 { return float64(p.Applied) })
	peer("durable_version", "Number of the last op that is durable on the peer.", func(p *Peer) float64 { return float64(p.Durable) })
	peer("lag_ops", "Ops the peer is behind.", func(p *Peer) float64 { return float64(p.LagOps) })
	peer("lag_bytes", "Bytes the peer is behind.", func(p *Peer) float64 { return float64(p.LagBytes) })
	peer("lag_seconds", "Time the peer is behind.", func(p *Peer) float64 { return p.LagSeconds })
	peer("content_bytes", "Content that the peer has sent for copies which this node makes, since the start.", func(p *Peer) float64 { return float64(p.ContentBytes) })
	peer("sync_ratio", "How much of its copy the peer has, 0 to 1.", func(p *Peer) float64 { return p.SyncPercent / 100 })
	return c
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe is part of prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.info
	ch <- c.state
	for _, m := range c.own {
		ch <- m.desc
	}
	for _, m := range c.chunks {
		ch <- m.desc
	}
	for _, m := range c.peers {
		ch <- m.desc
	}
}

// Collect is part of prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	s := c.source.Status(ctx)
	s.complete()
	ch <- constMetric(c.info, 1, s.NodeID, s.ClusterID, s.VolumeID, s.Software, s.Role)
	ch <- constMetric(c.state, 1, s.State)
	for _, m := range c.own {
		ch <- constMetric(m.desc, m.value(&s))
	}
	if s.Chunks != nil {
		for _, m := range c.chunks {
			ch <- constMetric(m.desc, float64(m.value(s.Chunks)))
		}
	}
	seen := make(map[string]bool, len(s.Peers))
	for i := range s.Peers {
		p := &s.Peers[i]
		if seen[p.ID] {
			continue // two of one name would make the whole scrape fail
		}
		seen[p.ID] = true
		for _, m := range c.peers {
			ch <- constMetric(m.desc, m.value(p), p.ID, p.Role)
		}
	}
}

// constMetric is a gauge. Label values must be UTF-8, whoever they come from.
func constMetric(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	m, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}

// metricsHandler serves a registry of its own: nothing global, nothing by accident.
func metricsHandler(opts Options) (http.Handler, error) {
	info := version.Get(opts.Program)
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "wolfdisk_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": info.Version, "commit": info.Commit, "go": info.Go}})
	build.Set(1)
	reg := prometheus.NewPedanticRegistry()
	all := append([]prometheus.Collector{
		newStatusCollector(opts.Source), build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}, opts.Collectors...)
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: metricsTimeout,
		ErrorLog: metricsLog{opts}}), nil
}

// metricsLog passes on what the library reports.
type metricsLog struct{ opts Options }

func (l metricsLog) Println(v ...any) { l.opts.Log.Error().Msg("metrics: " + fmt.Sprint(v...)) }
