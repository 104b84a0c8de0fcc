package s3

import (
	"context"
	"encoding/binary"
	"time"

	"wolfdisk/volume"
)

const (
	// janitorEvery is how often uploads are looked through.
	janitorEvery = 10 * time.Minute
	// repeatFor is how long a completed upload answers that it was completed.
	repeatFor = time.Hour
)

// noContext is for what must be done whether anybody waits for it or not.
var noContext = context.Background()

// janitor ends what uploads have left. Every node with a gateway runs one; where the
// volume takes no changes it does nothing.
func (s *Server) janitor(ctx context.Context) {
	defer close(s.stopped)
	t := time.NewTicker(janitorEvery)
	defer t.Stop()
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug().Err(err).Msg("s3: look through the uploads; tried again later")
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Tidy ends uploads that have expired, that were completed a while ago, or whose bucket is
// gone, and data that belong to none.
func (s *Server) Tidy(ctx context.Context) error {
	now := s.cfg.Now()
	return s.eachUpload(ctx, func(ino volume.Ino, u *upload) error {
		if u == nil {
			return s.tidyData(ctx, ino)
		}
		over := now.Sub(u.created.Std()) > s.cfg.UploadExpiry
		if r, ok, err := s.readSlot(ctx, ino, slotDone); err == nil && ok && r.sum[0] != 0 {
			over = over || now.Sub(r.time.Std()) > repeatFor
		}
		if _, err := s.vol.GetAttr(ctx, u.bucketIno); volume.KindOf(err) == volume.Stale && err != nil {
			over = true
		}
		if !over {
			return nil
		}
		a := s.uploads.join(ino)
		defer s.uploads.leave(ino, a)
		a.hold.Lock()
		defer a.hold.Unlock()
		s.cfg.Log.Debug().Str("bucket", u.bucket).Str("key", u.key).Msg("s3: an upload has expired")
		return s.endUpload(ctx, ino)
	})
}

// tidyData ends a data inode whose ledger is gone.
func (s *Server) tidyData(ctx context.Context, ino volume.Ino) error {
	v, err := s.vol.GetXattr(ctx, ino, volume.XattrKeep)
	if err != nil || len(v) != 10 || v[0] != metaFormat || v[1] != keepData {
		return nil // gone, or not ours to judge
	}
	u, err := s.readUpload(ctx, volume.Ino(binary.BigEndian.Uint64(v[2:])))
	if err != nil || u != nil {
		return nil
	}
	return s.unkeep(ctx, ino)
}
