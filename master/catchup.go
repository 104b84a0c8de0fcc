package master

import (
	"context"
	"encoding/binary"
	"io"

	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// CatchUp pulls from a peer what its log holds behind ours, on our own history, and
// replays it. It is for a leader that has not written in its epoch: nobody may change
// the tree meanwhile.
func CatchUp(ctx context.Context, s *wire.Session, tree *index.Tree, log *oplog.Log, obs volume.Observer) error {
	body := binary.BigEndian.AppendUint64(nil, uint64(log.Last().Version))
	answer, err := s.Call(ctx, volume.RequestPull, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	return Replay(ctx, answer, s.Remote().NodeID, tree, log, obs)
}

// Replay records and replays frames that follow the end of a log, as they come from a node.
func Replay(ctx context.Context, frames io.Reader, from string, tree *index.Tree, log *oplog.Log, obs volume.Observer) error {
	for {
		b, err := oplog.ReadFrom(frames)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return volume.Wrap(err, "pull frames from "+from)
		}
		f, ops, err := log.AppendFrame(b)
		if err != nil {
			return volume.Wrap(err, "record pulled frame")
		}
		err = tree.ApplyBatch(ctx, index.Batch{
			Ops: ops, Frame: f.Ref,
			After: volume.Position{Epoch: f.Epoch, Version: f.Last, Digest: f.Digest},
		})
		if err != nil {
			return err
		}
		if obs != nil {
			obs.Applied(ops)
		}
	}
}
