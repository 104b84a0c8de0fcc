package wire

import (
	"context"

	"wolfdisk/volume"
)

// AnswerChunk answers a volume.RequestChunk with what get returns; Missing without
// get. The asker checks the hash.
func AnswerChunk(ctx context.Context, body []byte, w *AnswerWriter, get func(context.Context, volume.ChunkID) ([]byte, error)) error {
	var id volume.ChunkID
	if len(body) != len(id) {
		return volume.Errorf(volume.BadFormat, "chunk request of %d bytes", len(body))
	}
	copy(id[:], body)
	if get == nil {
		return volume.Missing
	}
	content, err := get(ctx, id)
	if err == nil {
		_, err = w.Write(content)
	}
	return err
}
