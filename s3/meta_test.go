package s3

import (
	"reflect"
	"strings"
	"testing"

	"wolfdisk/volume"
)

func sampleMeta() *meta {
	return &meta{
		kind: kindObject, etag: "abc-2", modified: volume.Time{Sec: -5, Nsec: 7},
		headers: []pair{{"Content-Type", "text/plain"}}, user: []pair{{"a", ""}, {"b", "ü"}}, tags: []pair{{"z", "1"}, {"a", "2"}},
		sums:  []sum{{algo: algoCRC32, composite: true, value: []byte{1, 2, 3, 4}}, {algo: algoSHA1, value: make([]byte, 20)}},
		parts: []run{{3, 5 << 20}, {1, 0}}, made: true,
	}
}

func TestMetaRoundTrip(t *testing.T) {
	for _, m := range []*meta{{kind: kindImplicit, made: true}, sampleMeta()} {
		got, err := decodeMeta(m.encode())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, %v; want %+v", got, err, m)
		}
	}
	// What a later version adds does not hinder this one.
	got, err := decodeMeta(appendField(sampleMeta().encode(), 200, []byte("new")))
	if err != nil || !reflect.DeepEqual(got, sampleMeta()) {
		t.Errorf("with a field that is not known: %+v, %v", got, err)
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(sampleMeta().encode())
	f.Add([]byte{metaFormat, tagParts, 2, 0xff, 0xff})
	f.Add([]byte{metaFormat, keepLedger, tagMeta, 1, metaFormat})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil {
			again, err := decodeMeta(m.encode())
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%+v becomes %+v, %v", m, again, err)
			}
		}
		if u, err := decodeUpload(7, b); err == nil && u != nil {
			if again, err := decodeUpload(7, u.encode()); err != nil || !reflect.DeepEqual(again, u) {
				t.Errorf("%+v becomes %+v, %v", u, again, err)
			}
		}
		if s, ok, err := decodeSlot(b); err == nil && ok {
			if again, ok, err := decodeSlot(s.encode()); err != nil || !ok || again != s {
				t.Errorf("%+v becomes %+v, %v", s, again, err)
			}
		}
	})
}

func TestTokens(t *testing.T) {
	for _, tok := range []token{{"key", false}, {"pre/", true}, {"\xff\x00", false}} {
		got, err := decodeToken(tok.encode())
		if err != nil || got != tok {
			t.Errorf("%+v becomes %+v, %v", tok, got, err)
		}
	}
	for _, s := range []string{"", "x", "AWs", "!!!!", "AnhrZXk"} {
		if tok, err := decodeToken(s); err == nil {
			t.Errorf("%q is taken for %+v", s, tok)
		}
	}
}

// The system metadata of a PUT have S3's limit. What was stored when more was taken is read and copied as ever.
func TestLongHeaders(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	const name, limit = "Cache-Control", 2 << 10
	most := strings.Repeat("x", limit-len(name))
	r.ok("PUT", "/b/k", "x", name+": "+most)
	r.same("most", r.ok("HEAD", "/b/k", "").Header().Get(name), most)
	r.fails("MetadataTooLarge", "PUT", "/b/k", "new", name+": "+most+"x")
	r.fails("MetadataTooLarge", "PUT", "/b/k", "new", name+": "+most, "Content-Type: a/b")
	r.fails("MetadataTooLarge", "POST", "/b/k?uploads", "", name+": "+most+"x")
	r.fails("MetadataTooLarge", "PUT", "/b/c", "", "x-amz-copy-source: b/k", "x-amz-metadata-directive: REPLACE", name+": "+most+"x")
	old := &meta{kind: kindObject, etag: md5Of("x"), headers: []pair{{name, strings.Repeat("y", 8<<10-len(name))}}}
	if _, err := r.s.do(t.Context(), &volume.Request{Kind: volume.OpSetXattr, Ino: r.find("b/k").Ino, Name: volume.XattrObject, Data: old.encode()}); err != nil {
		t.Fatal(err)
	}
	r.ok("PUT", "/b/k?tagging", "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>")
	r.ok("PUT", "/b/c", "", "x-amz-copy-source: b/k")
	for _, key := range []string{"k", "c"} {
		h := r.ok("GET", "/b/"+key, "").Header()
		r.same(key, h.Get(name)+h.Get("x-amz-tagging-count"), old.headers[0].value+"1")
	}
}
