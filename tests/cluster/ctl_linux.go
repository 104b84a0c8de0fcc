package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// Status is the status JSON of the contract.
type Status struct {
	SchemaVersion int    `json:"schema_version"`
	ClusterID     string `json:"cluster_id"`
	VolumeID      string `json:"volume_id"`
	NodeID        string `json:"node_id"`
	Software      string `json:"software"`
	Role          string `json:"role"`
	State         string `json:"state"`
	LeaderID      string `json:"leader_id"`
	Position      struct {
		Epoch       uint64 `json:"epoch"`
		EpochLeader string `json:"epoch_leader"`
		Version     uint64 `json:"version"`
		Digest      string `json:"digest"`
	} `json:"position"`
	DurableVersion uint64 `json:"durable_version"`
	Oplog          struct {
		First uint64 `json:"first"`
		Last  uint64 `json:"last"`
		Bytes int64  `json:"bytes"`
	} `json:"oplog"`
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	Mount struct {
		Path   string `json:"path"`
		Driver string `json:"driver"`
	} `json:"mount"`
	Progress *struct {
		Phase   string  `json:"phase"`
		Percent float64 `json:"percent"`
	} `json:"progress"`
	ConflictsOpen int       `json:"conflicts_open"`
	Warnings      []Warning `json:"warnings"`
	Peers         []Peer    `json:"peers"`
}

// Warning is a state that wants somebody's attention.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Hint string `json:"hint"`
}

// Peer is another node as seen by the one that was asked.
type Peer struct {
	ID          string  `json:"id"`
	Address     string  `json:"address"`
	Role        string  `json:"role"`
	State       string  `json:"state"`
	Software    string  `json:"software"`
	Received    uint64  `json:"received"`
	Applied     uint64  `json:"applied"`
	Durable     uint64  `json:"durable"`
	LagOps      uint64  `json:"lag_ops"`
	LagBytes    int64   `json:"lag_bytes"`
	LagSeconds  float64 `json:"lag_seconds"`
	SyncPercent float64 `json:"sync_percent"`
	// ContentBytes is what it has sent of the content of copies.
	ContentBytes uint64 `json:"content_bytes"`
}

// Ctl runs wolfdiskctl on the node's state directory.
func (n *Node) Ctl(timeout time.Duration, args ...string) Result {
	all := append([]string{filepath.Join(n.c.Bin, "wolfdiskctl"), "--state-dir", n.State}, args...)
	return Cmd{Args: all, Timeout: timeout}.Run()
}

// Status asks the node over its socket, without a process, so that it can be
// polled every millisecond.
func (n *Node) Status() (s Status, err error) {
	body, err := n.Get("/v1/status")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return s, fmt.Errorf("status of %s: %w in %s", n.ID, err, body)
	}
	return s, nil
}

// Get asks the node's admin socket.
func (n *Node) Get(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := n.admin.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, n.ID, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, n.ID, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s of %s: %s: %s", path, n.ID, resp.Status, body)
	}
	return body, nil
}

func adminClient(socket string) *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}
}

// WaitStatus polls until ok says yes.
func (n *Node) WaitStatus(timeout time.Duration, what string, ok func(Status) bool) (Status, error) {
	var last Status
	var lastErr error
	for deadline := time.Now().Add(timeout); ; time.Sleep(time.Millisecond) {
		s, err := n.Status()
		if err == nil {
			if ok(s) {
				return s, nil
			}
			last = s
		}
		lastErr = err
		if !n.Running() {
			return last, fmt.Errorf("%s ended while waiting until %s\n%s", n.ID, what, n.LogTail())
		}
		if time.Now().After(deadline) {
			return last, fmt.Errorf("%s: not %s after %v; last error %v, last status %+v\n%s",
				n.ID, what, timeout, lastErr, last, n.LogTail())
		}
	}
}
