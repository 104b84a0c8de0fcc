package sig

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash/crc64"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestHasher(t *testing.T) {
	h, err := NewHasher("md5", "CRC32", "crc32c", "CRC64NVME", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128", "MD5")
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"a", "", "bcd", "efg"} {
		if n, err := h.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	for name, want := range sumsOfAbcdefg {
		if c, there := h.Checksum(name); !there || c.Value != want {
			t.Errorf("%s: %v, %t", name, c, there)
		}
	}
	if _, err := NewHasher("CRC16"); !errors.Is(err, errUnknownAlgorithm) {
		t.Error(err)
	}
	if _, there := (&Hasher{}).Checksum("MD5"); there {
		t.Error("a sum of nothing")
	}
}

// The sum aside is that of the bytes in order, whatever the sizes of writes; the
// writer's buffer is its own again at once.
func TestAside(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var wg sync.WaitGroup
	for range 8 {
		sizes := make([]int, 40)
		for i := range sizes {
			sizes[i] = rnd.IntN(200_000) >> rnd.IntN(16)
		}
		wg.Go(func() {
			h, _ := NewHasher("MD5")
			want := md5.New()
			var buf []byte
			for i, n := range sizes {
				buf = append(buf[:0], bytes.Repeat([]byte{byte(i)}, n)...)
				h.Write(buf)
				want.Write(buf)
				for j := range buf {
					buf[j] = 0xff
				}
				if i%10 == 0 && !slices.Equal(h.Sum("MD5"), want.Sum(nil)) {
					t.Errorf("after %v", sizes[:i+1])
				}
			}
			if !slices.Equal(h.Sum("MD5"), want.Sum(nil)) {
				t.Errorf("after %v", sizes)
			}
		})
	}
	wg.Wait()
}

func TestCRC64NVME(t *testing.T) {
	a, _ := FindAlgorithm("CRC64NVME")
	h := a.New()
	h.Write([]byte("123456789"))
	if got := hex.EncodeToString(h.Sum(nil)); got != "ae8b14860a799888" {
		t.Errorf("check value %s", got)
	}
	table := crc64.MakeTable(nvmePoly)
	data := []byte(letters(3000))
	for n := range data {
		h := a.New()
		h.Write(data[:n])
		if got := bigEndian(h.Sum(nil)); got != crc64.Checksum(data[:n], table) {
			t.Fatalf("%d bytes: %x", n, got)
		}
	}
}

func TestFullObjectAndComposite(t *testing.T) {
	data := []byte(letters(100_000))
	for _, a := range algorithms {
		for _, cuts := range [][]int{{}, {0}, {1}, {100_000}, {50_000, 99_999}, {0, 0, 7}, {1, 2, 3, 4, 5, 60_000}} {
			var parts []Part
			var raw []byte
			from := 0
			for _, to := range append(slices.Clone(cuts), len(data)) {
				h := a.New()
				h.Write(data[from:to])
				raw = h.Sum(raw)
				parts = append(parts, Part{base64.StdEncoding.EncodeToString(h.Sum(nil)), int64(to - from)})
				from = to
			}
			h := a.New()
			h.Write(data)
			got, err := FullObject(strings.ToLower(a.Name), parts)
			if a.FullObject && (err != nil || got != NewChecksum(a.Name, h.Sum(nil))) {
				t.Errorf("%s, cut at %v: %v, %v", a.Name, cuts, got, err)
			}
			if !a.FullObject && err == nil {
				t.Errorf("%s can be combined", a.Name)
			}
			h.Reset()
			h.Write(raw)
			want := base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + string(rune('0'+len(parts)))
			if got, err := Composite(a.Name, parts); err != nil || got.Value != want || !ValidChecksum(got) {
				t.Errorf("%s, cut at %v: composite %v, %v", a.Name, cuts, got, err)
			}
		}
	}
	for _, bad := range []Part{{"x", 1}, {"AAAA", 1}, {"AAAAAA==", -1}, {"AAAAAB==", 1}} {
		if _, err := FullObject("CRC32", []Part{bad}); err == nil {
			t.Errorf("%v is combined", bad)
		}
	}
	if _, err := Composite("CRC32", []Part{{"x", 1}}); err == nil {
		t.Error("composite of nonsense")
	}
	if _, err := Composite("CRC16", nil); err == nil {
		t.Error("composite of an unknown algorithm")
	}
	if _, err := FullObject("CRC16", nil); err == nil {
		t.Error("combination of an unknown algorithm")
	}
}

// A part may be larger than what fits the shift by squares naively.
func TestCombineLarge(t *testing.T) {
	for _, a := range algorithms {
		if a.poly == 0 {
			continue
		}
		bits := uint(8 * a.Size)
		x, y := uint64(5<<40+12345), uint64(1<<33-1)
		if crcMultiply(crcShift(x, a.poly, bits), crcShift(y, a.poly, bits), a.poly, bits) != crcShift(x+y, a.poly, bits) {
			t.Errorf("%s: x^a * x^b is not x^(a+b)", a.Name)
		}
	}
}

func TestValidChecksum(t *testing.T) {
	for c, want := range map[Checksum]bool{
		{"CRC32", "AAAAAA=="}: true, {"crc32", "AAAAAA==-3"}: true, {"CRC32", "AAAAAA==-0"}: false, {"CRC32", "AAAAAA==-x"}: false,
		{"CRC32", "AAAAAA==-10001"}: false, {"CRC32", ""}: false, {"CRC64NVME", "AAAAAA=="}: false, {"CRC16", "AAAA"}: false,
	} {
		if got := ValidChecksum(c); got != want {
			t.Errorf("%v: %t", c, got)
		}
	}
}
