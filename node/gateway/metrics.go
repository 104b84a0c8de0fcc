package gateway

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"wolfdisk/s3"
)

// metrics counts requests.
type metrics struct {
	requests       *prometheus.CounterVec
	received, sent prometheus.Counter
	forwarded      prometheus.Counter
	open           prometheus.GaugeFunc
	connections    atomic.Int64
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "wolfdisk_s3_" + name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wolfdisk_s3_requests_total",
			Help: "S3 requests that were answered, by operation (empty: refused before it was known) and HTTP status."}, []string{"operation", "status"}),
		received:  counter("received_bytes_total", "Bytes of the bodies of S3 requests."),
		sent:      counter("sent_bytes_total", "Bytes of the bodies of answers to S3 requests."),
		forwarded: counter("forwarded_requests_total", "S3 requests that another node, which leads, has answered."),
	}
	m.open = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wolfdisk_s3_connections", Help: "Connections of S3 clients that are open."},
		func() float64 { return float64(m.connections.Load()) })
	return m
}

// done takes note of an answered request.
func (m *metrics) done(d s3.Done) {
	m.requests.WithLabelValues(d.Operation, strconv.Itoa(d.Status)).Inc()
	m.received.Add(float64(d.Read))
	m.sent.Add(float64(d.Written))
}

// Metrics are what the gateway counts.
func (g *Gateway) Metrics() []prometheus.Collector {
	m := g.metrics
	return []prometheus.Collector{m.requests, m.received, m.sent, m.forwarded, m.open}
}
