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
	for {
		b, err := oplog.ReadFrom(answer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return volume.Wrap(err, "pull frames from "+s.Remote().NodeID)
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
