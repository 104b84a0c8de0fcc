package s3

import (
	"context"
	"encoding/base64"
	"fmt"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// The checksums of an object's parts are in attributes of their own, volume.XattrObject
// with ".p" and a number from 0 on, as many as are needed. Each is
//
//	format 1, algorithm  2 bytes
//	sums                 of one part after another, without gaps
//
// and holds sumsPer parts, but the last.
const (
	sumsPer  = 1000 // of the longest sums they fill an attribute
	maxSumAt = (maxParts + sumsPer - 1) / sumsPer
)

func sumsName(i int) string { return fmt.Sprintf("%s.p%d", volume.XattrObject, i) }

// partSums are the attributes with the checksums of parts; none if not all have one.
func partSums(u *upload, parts []slot) (list []volume.Xattr) {
	if !u.algo.valid() {
		return nil
	}
	for i := 0; i < len(parts); i += sumsPer {
		v := []byte{metaFormat, byte(u.algo)}
		for _, r := range parts[i:min(i+sumsPer, len(parts))] {
			if r.algo != u.algo {
				return nil
			}
			v = append(v, r.sum[:r.algo.size()]...)
		}
		list = append(list, volume.Xattr{Name: sumsName(i / sumsPer), Value: v})
	}
	return list
}

// readPartSums reads them; none if there are none.
func (s *Server) readPartSums(ctx context.Context, ino volume.Ino, count int) (a algo, sums [][]byte, err error) {
	for i := 0; i < maxSumAt && len(sums) < count; i++ {
		v, err := s.vol.GetXattr(ctx, ino, sumsName(i))
		if volume.KindOf(err) == volume.NoXattr && err != nil {
			return algoNone, nil, nil
		}
		if err != nil {
			return algoNone, nil, err
		}
		if len(v) < 2 || v[0] != metaFormat || !algo(v[1]).valid() || i > 0 && algo(v[1]) != a {
			return algoNone, nil, volume.Errorf(volume.BadFormat, "checksums of the parts of inode %s", ino)
		}
		a = algo(v[1])
		for v = v[2:]; len(v) >= a.size(); v = v[a.size():] {
			sums = append(sums, v[:a.size()])
		}
	}
	if len(sums) != count {
		return algoNone, nil, nil
	}
	return a, sums, nil
}

// joinSums makes the checksum of an object of those of its parts; false if there is none.
func joinSums(u *upload, parts []slot) (s sum, ok bool) {
	a := u.kept()
	s = sum{algo: a, composite: u.composite}
	if u.composite {
		h := u.algo.sig().New()
		for _, r := range parts {
			if r.algo != u.algo {
				return s, false
			}
			h.Write(r.sum[:r.algo.size()])
		}
		s.value = h.Sum(nil)
		return s, true
	}
	list := make([]sig.Part, len(parts))
	for i, r := range parts {
		if r.algo != a {
			return s, false
		}
		list[i] = sig.Part{Value: base64.StdEncoding.EncodeToString(r.sum[:a.size()]), Size: r.length}
	}
	whole, err := sig.FullObject(a.String(), list)
	if err == nil {
		s.value, ok = decodeSum(a, whole.Value)
	}
	return s, err == nil && ok
}
