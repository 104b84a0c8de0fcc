package conflict

import (
	"cmp"
	"slices"

	"wolfdisk/volume"
)

// maxRangesKept bounds the ranges of one file, in memory and in what is sorted.
const maxRangesKept = 1 << 14

// rangeSet collects changed ranges of one file. Beyond maxRangesKept it also covers the
// smaller gaps: content is read in its last state, so more than what was changed is right, too.
type rangeSet struct{ list []volume.Range }

func (s *rangeSet) add(off, length int64) {
	if n := len(s.list); n > 0 { // sequential writes
		if last := &s.list[n-1]; off >= last.Off && off <= last.Off+last.Len {
			last.Len = max(last.Len, off+length-last.Off)
			return
		}
	}
	s.list = append(s.list, volume.Range{Off: off, Len: length})
	if len(s.list) >= 4*maxRangesKept {
		s.settle()
	}
}

// settle sorts and joins, until there are few enough.
func (s *rangeSet) settle() []volume.Range {
	slices.SortFunc(s.list, func(a, b volume.Range) int { return cmp.Compare(a.Off, b.Off) })
	s.join(0)
	if n := len(s.list) - maxRangesKept; n > 0 {
		gaps := make([]int64, 0, len(s.list))
		for i := 1; i < len(s.list); i++ {
			gaps = append(gaps, s.list[i].Off-s.list[i-1].Off-s.list[i-1].Len)
		}
		slices.Sort(gaps)
		s.join(gaps[n-1])
	}
	return s.list
}

// join joins what lies no further apart than gap.
func (s *rangeSet) join(gap int64) {
	out := s.list[:0]
	for _, r := range s.list {
		if n := len(out); n > 0 && r.Off-out[n-1].Off-out[n-1].Len <= gap {
			out[n-1].Len = max(out[n-1].Len, r.Off+r.Len-out[n-1].Off)
			continue
		}
		out = append(out, r)
	}
	s.list = out
}

// cut is the ranges within a file of a size.
func cut(list []volume.Range, size int64) (out []volume.Range) {
	for _, r := range list {
		if r.Off >= size {
			break
		}
		out = append(out, volume.Range{Off: r.Off, Len: min(r.Len, size-r.Off)})
	}
	return out
}

func total(list []volume.Range) (n int64) {
	for _, r := range list {
		n += r.Len
	}
	return n
}
