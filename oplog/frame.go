package oplog

import (
	"errors"
	"io"
	"sync"

	"github.com/pierrec/lz4/v4"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// Frame is one or more ops as they lie in the segments and travel on the wire.
// Bytes is immutable and may be kept.
type Frame struct {
	First, Last  volume.Version
	Epoch        volume.Epoch
	Prev, Digest volume.Digest  // before the first op, and after the last
	Durable      volume.Version // durable at the leader when the frame was written
	Count        int            // ops
	RawLen       int            // payload before compression, bytes
	Bytes        []byte         // header and payload
	Ref          volume.LogRef  // where it lies in this log; Offset is 0
}

// Position is the position after the frame's last op.
func (f *Frame) Position() volume.Position {
	return volume.Position{Epoch: f.Epoch, Version: f.Last, Digest: f.Digest}
}

func frameOf(h *Header, b []byte, ref volume.LogRef) Frame {
	return Frame{
		First: h.First, Last: h.Last, Epoch: h.Epoch, Prev: h.Prev, Digest: h.Digest,
		Durable: h.Durable, Count: h.Count, RawLen: h.RawLen, Bytes: b, Ref: ref,
	}
}

// DecodeFrame checks a whole frame in itself: header, checksum, exact lengths,
// every op, the chain of digests. b is kept by the result: Bytes is b, and the
// ops' byte strings alias b or its decompressed payload. BadFormat, WrongVersion,
// or Corrupt if only the payload's checksum does not match.
func DecodeFrame(b []byte) (Frame, []*volume.Op, error) {
	var h Header
	if err := parseHeader(b, &h, ""); err != nil {
		return Frame{}, nil, err
	}
	raw, err := openPayload(&h, b)
	if err != nil {
		return Frame{}, nil, err
	}
	ops, err := decodeOps(&h, raw)
	if err != nil {
		return Frame{}, nil, err
	}
	return frameOf(&h, b, volume.LogRef{}), ops, nil
}

// checkPayload compares the stored payload of the frame b, which must be whole,
// with its checksum.
func checkPayload(h *Header, b []byte) error {
	if len(b) != h.Len() {
		return volume.Errorf(volume.BadFormat, "frame %d..%d: %d bytes instead of %d", h.First, h.Last, len(b), h.Len())
	}
	if xxh3.Hash(b[h.HeaderLen:]) != h.checksum {
		return volume.Errorf(volume.Corrupt, "frame %d..%d: payload does not match its checksum", h.First, h.Last)
	}
	return nil
}

// openPayload is the verified payload of the frame b, decompressed; it aliases b
// if it is not compressed.
func openPayload(h *Header, b []byte) ([]byte, error) {
	if err := checkPayload(h, b); err != nil {
		return nil, err
	}
	return inflate(h, b[h.HeaderLen:])
}

func inflate(h *Header, stored []byte) ([]byte, error) {
	if h.compression == compressNone {
		return stored[:len(stored):len(stored)], nil
	}
	raw := make([]byte, h.RawLen)
	n, err := lz4.UncompressBlock(stored, raw)
	if err != nil {
		return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: decompress: %w", h.First, h.Last, err)
	}
	if n != h.RawLen {
		return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: decompressed to %d bytes instead of %d", h.First, h.Last, n, h.RawLen)
	}
	return raw, nil
}

var decoders = sync.Pool{New: func() any { return volume.NewDecoder(nil) }}

// opBlock is how many ops are allocated together, so that a count that lies
// costs little.
const opBlock = 32

// decodeOps decodes and validates all ops of a payload, numbers them, and checks
// count, digests, and that an epoch is opened only by a frame's first op.
func decodeOps(h *Header, raw []byte) ([]*volume.Op, error) {
	d := decoders.Get().(*volume.Decoder)
	defer func() {
		d.Reset(nil)
		decoders.Put(d)
	}()
	d.Reset(raw)
	ops := make([]*volume.Op, 0, min(h.Count, 4*opBlock))
	var block []volume.Op
	digest := h.Prev
	for i := range h.Count {
		if len(block) == 0 {
			block = make([]volume.Op, min(h.Count-i, opBlock))
		}
		op := &block[0]
		block = block[1:]
		enc, err := d.Next(op)
		if errors.Is(err, io.EOF) {
			return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: only %d of %d ops", h.First, h.Last, i, h.Count)
		}
		if err != nil {
			return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: op %d: %w", h.First, h.Last, h.First+volume.Version(i), err)
		}
		if op.Kind == volume.OpReign && (i > 0 || op.Epoch != h.Epoch) {
			return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: op %d opens epoch %s inside epoch %s",
				h.First, h.Last, h.First+volume.Version(i), op.Epoch, h.Epoch)
		}
		op.Version = h.First + volume.Version(i)
		digest = digest.Next(enc)
		ops = append(ops, op)
	}
	var extra volume.Op
	if _, err := d.Next(&extra); !errors.Is(err, io.EOF) {
		return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: more than %d ops", h.First, h.Last, h.Count)
	}
	if digest != h.Digest {
		return nil, volume.Errorf(volume.BadFormat, "frame %d..%d: digest is %s, header says %s", h.First, h.Last, digest, h.Digest)
	}
	return ops, nil
}

// digestAt is the digest after op v of a frame.
func digestAt(h *Header, raw []byte, v volume.Version) (volume.Digest, error) {
	d := decoders.Get().(*volume.Decoder)
	defer func() {
		d.Reset(nil)
		decoders.Put(d)
	}()
	d.Reset(raw)
	digest := h.Prev
	var op volume.Op
	for i := h.First; i <= v; i++ {
		enc, err := d.Next(&op)
		if err != nil {
			return digest, volume.Errorf(volume.BadFormat, "frame %d..%d: op %d: %w", h.First, h.Last, i, err)
		}
		digest = digest.Next(enc)
	}
	return digest, nil
}
