package s3

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wolfdisk/volume"
)

func (r *rig) begin(key string, extra ...string) string {
	r.t.Helper()
	var res initiateResult
	r.xml(r.ok("POST", "/b/"+key+"?uploads", "", extra...), &res)
	return res.UploadId
}

func (r *rig) part(key, id string, n int, body string, extra ...string) string {
	r.t.Helper()
	return r.ok("PUT", fmt.Sprintf("/b/%s?partNumber=%d&uploadId=%s", key, n, id), body, extra...).Header().Get("ETag")
}

// sumOf is a checksum as the protocol has it.
func sumOf(a algo, content string) string {
	h := a.sig().New()
	h.Write([]byte(content))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func sumHeader(a algo, content string) string { return a.header() + ": " + sumOf(a, content) }

// list is the document of a completion.
func partsDoc(etags map[int]string) string {
	doc := "<CompleteMultipartUpload>"
	for n := range maxParts + 1 {
		if e, ok := etags[n]; ok {
			doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, e)
		}
	}
	return doc + "</CompleteMultipartUpload>"
}

// An object of parts is their concatenation, in whatever order and sizes they came.
func TestMultipart(t *testing.T) {
	full := pattern(minPart, 1)
	for _, row := range []struct {
		name  string
		order []int // the parts as they come
		sizes map[int]int
		ask   []int
		copy  bool // the parts cannot stay where they are
	}{
		{"one", []int{1}, map[int]int{1: 100}, []int{1}, false},
		{"in order", []int{1, 2, 3}, map[int]int{1: minPart, 2: minPart, 3: 77}, []int{1, 2, 3}, false},
		{"last first", []int{3, 2, 1}, map[int]int{1: minPart, 2: minPart, 3: 77}, []int{1, 2, 3}, false},
		{"empty last", []int{1, 2}, map[int]int{1: minPart, 2: 0}, []int{1, 2}, false},
		{"unequal", []int{1, 2, 3}, map[int]int{1: minPart, 2: minPart + 5, 3: 3}, []int{1, 2, 3}, true},
		{"large last", []int{1, 2}, map[int]int{1: minPart, 2: minPart + 99}, []int{1, 2}, false},
		{"gaps", []int{2, 5, 9}, map[int]int{2: minPart, 5: minPart, 9: 1}, []int{2, 5, 9}, true},
		{"not all asked for", []int{1, 2, 3}, map[int]int{1: minPart, 2: minPart, 3: 10}, []int{1, 2}, true},
		{"again", []int{1, 2, 1, 2}, map[int]int{1: minPart, 2: 50}, []int{1, 2}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			r.path("b/", "")
			id := r.begin("dir/k", "Content-Type: text/m", "x-amz-meta-a: 1", "x-amz-tagging: t=1")
			etags, bodies := map[int]string{}, map[int]string{}
			for i, n := range row.order {
				body := full[:min(len(full), row.sizes[n])] + strings.Repeat("+", max(0, row.sizes[n]-len(full)))
				if len(body) > 1 {
					body = fmt.Sprint(i) + body[1:]
				}
				etags[n], bodies[n] = r.part("dir/k", id, n, body), body
				r.same("ETag of a part", etags[n], quoteTag(md5Of(body)))
			}
			r.same("nothing is seen yet", r.find("b/dir").Ino, volume.Ino(0))
			asked, want := map[int]string{}, ""
			var sizes []int
			for _, n := range row.ask {
				asked[n] = etags[n]
				want += bodies[n]
				sizes = append(sizes, len(bodies[n]))
			}
			w := r.ok("POST", "/b/dir/k?uploadId="+id, partsDoc(asked))
			var res completeResult
			r.xml(w, &res)
			if !strings.HasSuffix(res.ETag, fmt.Sprintf(`-%d"`, len(asked))) {
				t.Errorf("ETag %s", res.ETag)
			}
			w = r.ok("GET", "/b/dir/k", "")
			if w.body != want {
				t.Fatalf("the object has %d bytes, want %d", len(w.body), len(want))
			}
			r.same("ETag", w.Header().Get("ETag"), res.ETag)
			r.same("metadata", fmt.Sprint(w.Header().Get("Content-Type"), w.Header()["x-amz-meta-a"], w.Header().Get("x-amz-tagging-count")), "text/m[1]1")
			off := 0
			for i, size := range sizes {
				w := r.ok("GET", fmt.Sprintf("/b/dir/k?partNumber=%d", i+1), "")
				if w.body != want[off:off+size] || w.Header().Get("x-amz-mp-parts-count") != fmt.Sprint(len(sizes)) {
					t.Errorf("part %d: %d bytes, headers %v", i+1, len(w.body), w.Header())
				}
				off += size
			}
			// A completion that is said again answers the same; everything else is over.
			r.xml(r.ok("POST", "/b/dir/k?uploadId="+id, partsDoc(asked)), &res)
			r.same("ETag again", w.Header().Get("ETag"), res.ETag)
			r.fails("NoSuchUpload", "PUT", "/b/dir/k?partNumber=1&uploadId="+id, "x")
			r.fails("NoSuchUpload", "GET", "/b/dir/k?uploadId="+id, "")
			r.fails("NoSuchUpload", "DELETE", "/b/dir/k?uploadId="+id, "")
			left(r, 5) // root, bucket, directory, object, ledger
			r.pass(repeatFor + time.Minute)
			if err := r.s.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			left(r, 4)
		})
	}
}

func TestMultipartRefusals(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	r.path("c/", "")
	id := r.begin("k")
	e1 := r.part("k", id, 1, "small")
	e2 := r.part("k", id, 2, "last")
	path := "/b/k?uploadId=" + id
	r.fails("EntityTooSmall", "POST", path, partsDoc(map[int]string{1: e1, 2: e2}))
	r.fails("InvalidPart", "POST", path, partsDoc(map[int]string{1: e2}))
	r.fails("InvalidPart", "POST", path, partsDoc(map[int]string{3: e2}))
	r.fails("InvalidPartOrder", "POST", path, "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>"+e2+"</ETag></Part><Part><PartNumber>1</PartNumber><ETag>"+e1+"</ETag></Part></CompleteMultipartUpload>")
	r.fails("MalformedXML", "POST", path, partsDoc(nil))
	r.fails("MalformedXML", "POST", path, "nonsense")
	r.fails("InvalidArgument", "PUT", path+"&partNumber=0", "x")
	r.fails("InvalidArgument", "PUT", path+"&partNumber=10001", "x")
	r.fails("InvalidRequest", "POST", path, partsDoc(map[int]string{1: e1}), "x-amz-mp-object-size: 77")
	r.fails("BadDigest", "PUT", path+"&partNumber=3", "new", "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==")
	for _, other := range []string{"/b/other?uploadId=" + id, "/c/k?uploadId=" + id, "/b/k?uploadId=" + strings.Repeat("0", uploadIDLen), "/b/k?uploadId=x",
		"/b/k?uploadId=" + id[:16] + strings.Repeat("0", 32), "/b/k?uploadId=" + strings.Repeat("f", uploadIDLen)} {
		r.fails("NoSuchUpload", "PUT", other+"&partNumber=1", "x")
		r.fails("NoSuchUpload", "POST", other, partsDoc(map[int]string{1: e1}))
		r.fails("NoSuchUpload", "DELETE", other, "")
	}
	r.ok("PUT", "/b/k", "there")
	r.fails("PreconditionFailed", "POST", path, partsDoc(map[int]string{1: e1}), "If-None-Match: *")
	r.ok("POST", path, partsDoc(map[int]string{1: e1}), "If-Match: "+quoteTag(md5Of("there")))
	r.same("completed after all", r.ok("GET", "/b/k", "").body, "small")
	r.fails("NoSuchUpload", "POST", path, partsDoc(map[int]string{1: e1, 2: e2}))
	r.fails("InvalidArgument", "POST", "/b/dir/?uploads", "")
	r.fails("ObjectParentIsFile", "POST", "/b/k/k?uploads", "")
	r.fails("NoSuchBucket", "POST", "/none/k?uploads", "")
}

func TestAbortAndExpiry(t *testing.T) {
	r := newRig(t)
	b := r.path("b/", "")
	r.path("c/", "")
	keep := r.begin("keep")
	ids := []string{r.begin("x"), r.begin("x"), r.begin("dir/y")}
	for i, id := range ids {
		key := []string{"x", "x", "dir/y"}[i]
		r.part(key, id, 1, pattern(minPart, 1))
		r.part(key, id, 1, "again") // in an inode of its own
		r.part(key, id, 2, "two")
	}
	if w := r.ok("GET", "/b?uploads", ""); strings.Count(w.body, "<Upload>") != 4 {
		t.Error(w.body)
	}
	w := r.ok("GET", "/b?uploads&delimiter=/&max-uploads=2", "")
	if !strings.Contains(w.body, "<Prefix>dir/</Prefix>") || !strings.Contains(w.body, "<IsTruncated>true") || !strings.Contains(w.body, "<NextKeyMarker>keep<") {
		t.Error(w.body)
	}
	if w := r.ok("GET", "/b?uploads&prefix=x&key-marker=x&upload-id-marker="+min(ids[0], ids[1]), ""); strings.Count(w.body, "<Upload>") != 1 {
		t.Error(w.body)
	}
	if w := r.ok("GET", "/c?uploads", ""); strings.Contains(w.body, "<Upload>") {
		t.Error(w.body)
	}
	r.ok("DELETE", "/b/x?uploadId="+ids[0], "")
	r.fails("NoSuchUpload", "DELETE", "/b/x?uploadId="+ids[0], "")
	r.pass(r.s.cfg.UploadExpiry - time.Minute)
	late := r.begin("late")
	r.part("late", late, 1, "x")
	if err := r.s.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.part("keep", keep, 1, "x")
	r.pass(2 * time.Minute)
	if err := r.s.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.fails("NoSuchUpload", "PUT", "/b/keep?partNumber=1&uploadId="+keep, "x")
	r.part("late", late, 2, "x")
	left(r, 3+2)
	// Uploads go with their bucket.
	r.do(volume.Request{Kind: volume.OpRmdir, Parent: volume.RootIno, Name: "b"})
	if _, err := r.m.GetAttr(t.Context(), b); err == nil {
		t.Fatal("the bucket is there")
	}
	if err := r.s.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	left(r, 2)
}

func TestListParts(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	id := r.begin("k", "x-amz-checksum-algorithm: CRC32")
	for _, n := range []int{1, 2, 7, 9999, 10000} {
		r.part("k", id, n, fmt.Sprint(n), sumHeader(algoCRC32, fmt.Sprint(n)))
	}
	var all []int
	for marker := 0; ; {
		var res partList
		r.xml(r.ok("GET", fmt.Sprintf("/b/k?uploadId=%s&max-parts=2&part-number-marker=%d", id, marker), ""), &res)
		for _, p := range res.Part {
			all = append(all, p.PartNumber)
			r.same("checksum", p.ChecksumCRC32, sumOf(algoCRC32, fmt.Sprint(p.PartNumber)))
		}
		if !res.IsTruncated {
			break
		}
		marker = res.NextPartNumberMarker
	}
	r.same("parts", all, []int{1, 2, 7, 9999, 10000})
	// Parts of an upload that was begun without an algorithm have the default one's sum.
	id = r.begin("m")
	r.part("m", id, 1, "one", sumHeader(algoSHA1, "one"))
	r.part("m", id, 2, "two")
	var res partList
	r.xml(r.ok("GET", "/b/m?uploadId="+id, ""), &res)
	r.same("default checksums", fmt.Sprint(res.Part[0].ChecksumCRC64NVME, res.Part[1].ChecksumCRC64NVME, res.Part[0].ChecksumSHA1, res.ChecksumAlgorithm),
		fmt.Sprint(sumOf(algoCRC64NVME, "one"), sumOf(algoCRC64NVME, "two"), "", ""))
}

// A part that is too long is refused before it says how the data are divided.
func TestPartTooLong(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	id := r.begin("k")
	req := request(t.Context(), "PUT", "/b/k?partNumber=1&uploadId="+id, "x")
	req.ContentLength = maxPut + 1
	w := httptest.NewRecorder()
	r.s.ServeHTTP(w, req)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "EntityTooLarge") {
		t.Fatal(w.Code, w.Body)
	}
	p1, p2 := pattern(minPart, 1), "end"
	etags := map[int]string{2: r.part("k", id, 2, p2), 1: r.part("k", id, 1, p1)}
	ledger, err := strconv.ParseUint(id[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := r.s.readSlot(t.Context(), volume.Ino(ledger), slotDivide)
	r.same("place of each part", fmt.Sprint(d.length, err), fmt.Sprint(minPart, nil))
	r.ok("POST", "/b/k?uploadId="+id, partsDoc(etags))
	r.same("object", r.ok("GET", "/b/k", "").body == p1+p2, true)
}

// One who asks for no parts is not told to go on asking.
func TestAttributesOfParts(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	id := r.begin("k", "x-amz-checksum-algorithm: CRC32C", "x-amz-checksum-type: FULL_OBJECT")
	etags := map[int]string{}
	for n := range 3 {
		etags[n+1] = r.part("k", id, n+1, pattern(minPart, byte(n)))
	}
	r.ok("POST", "/b/k?uploadId="+id, partsDoc(etags))
	for _, row := range []struct {
		most, after, got, next int
		more                   bool
	}{{0, 0, 0, 0, false}, {1, 0, 1, 1, true}, {2, 1, 2, 3, false}, {3, 0, 3, 3, false}, {1, 3, 0, 0, false}} {
		var res attributes
		r.xml(r.ok("GET", "/b/k?attributes", "", "x-amz-object-attributes: ObjectParts", fmt.Sprint("x-amz-max-parts: ", row.most),
			fmt.Sprint("x-amz-part-number-marker: ", row.after)), &res)
		r.same(fmt.Sprint(row), fmt.Sprint(len(res.ObjectParts.Part), res.ObjectParts.NextPartNumberMarker, res.ObjectParts.IsTruncated),
			fmt.Sprint(row.got, row.next, row.more))
	}
}

// The checksum of an answer with one part is of that part, or is not there: clients verify what came with it.
func TestChecksumOfPart(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	p1, p2 := pattern(minPart, 1), "the rest"
	upload := func(key, kind string, parts ...string) {
		id := r.begin(key, "x-amz-checksum-algorithm: CRC32", "x-amz-checksum-type: "+kind)
		etags := map[int]string{}
		for i, p := range parts {
			etags[i+1] = r.part(key, id, i+1, p, sumHeader(algoCRC32, p))
		}
		doc := partsDoc(etags)
		for i, p := range parts {
			doc = strings.Replace(doc, etags[i+1]+"</ETag>", etags[i+1]+"</ETag><ChecksumCRC32>"+sumOf(algoCRC32, p)+"</ChecksumCRC32>", 1)
		}
		r.ok("POST", "/b/"+key+"?uploadId="+id, doc)
	}
	upload("composite", "COMPOSITE", p1, p2)
	upload("composite1", "COMPOSITE", p2)
	upload("composite0", "COMPOSITE", p1, "")
	upload("full", "FULL_OBJECT", p1, p2)
	upload("full0", "FULL_OBJECT", p1, "")
	upload("full1", "FULL_OBJECT", p2)
	r.ok("PUT", "/b/whole", p2, sumHeader(algoCRC32, p2))
	r.path("b/mount", p2)
	sum1, sum2, sum0 := sumOf(algoCRC32, p1), sumOf(algoCRC32, p2), sumOf(algoCRC32, "")
	for _, row := range []struct {
		key       string
		n         int
		sum, kind string
	}{
		{"composite", 1, sum1, "COMPOSITE"}, {"composite", 2, sum2, "COMPOSITE"}, {"composite1", 1, sum2, "COMPOSITE"},
		{"composite0", 1, sum1, "COMPOSITE"}, {"composite0", 2, sum0, "COMPOSITE"},
		{"full", 1, "", ""}, {"full", 2, "", ""}, {"full0", 2, "", ""}, {"full1", 1, sum2, "FULL_OBJECT"}, {"whole", 1, sum2, "FULL_OBJECT"}, {"mount", 1, "", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			path := fmt.Sprintf("/b/%s?partNumber=%d", row.key, row.n)
			h := r.ok(method, path, "", "x-amz-checksum-mode: ENABLED").Header()
			r.same(method+" "+path, h.Get("x-amz-checksum-crc32")+" "+h.Get("x-amz-checksum-type"), row.sum+" "+row.kind)
			h = r.ok(method, path, "").Header()
			r.same(method+" "+path+" not asked for", h.Get("x-amz-checksum-crc32")+h.Get("x-amz-checksum-type"), "")
		}
	}
	h := r.ok("GET", "/b/whole", "", "x-amz-checksum-mode: ENABLED", "Range: bytes=0-1").Header()
	r.same("of a range", h.Get("x-amz-checksum-crc32"), "")
}

func TestCombinedChecksums(t *testing.T) {
	for a := algoNone + 1; a < algoEnd; a++ {
		for _, kind := range []string{"FULL_OBJECT", "COMPOSITE"} {
			if kind == "FULL_OBJECT" && !a.ofWhole() || kind == "COMPOSITE" && !a.ofParts() {
				continue
			}
			t.Run(a.String()+" "+kind, func(t *testing.T) {
				r := newRig(t)
				r.path("b/", "")
				id := r.begin("k", "x-amz-checksum-algorithm: "+a.String(), "x-amz-checksum-type: "+kind)
				p1, p2 := pattern(minPart, 1), "the rest"
				etags := map[int]string{1: r.part("k", id, 1, p1, sumHeader(a, p1)), 2: r.part("k", id, 2, p2, sumHeader(a, p2))}
				doc := partsDoc(etags)
				for n, p := range map[int]string{1: p1, 2: p2} {
					element := "Checksum" + a.String()
					doc = strings.Replace(doc, etags[n]+"</ETag>", fmt.Sprintf("%s</ETag><%s>%s</%s>", etags[n], element, sumOf(a, p), element), 1)
				}
				if kind == "COMPOSITE" {
					r.fails("InvalidRequest", "POST", "/b/k?uploadId="+id, partsDoc(etags))
					r.fails("InvalidRequest", "PUT", "/b/k?partNumber=1&uploadId="+id, "x")
				}
				r.fails("InvalidPart", "POST", "/b/k?uploadId="+id, strings.Replace(doc, sumOf(a, p1), sumOf(a, "other"), 1))
				h := a.sig().New()
				want := ""
				if kind == "FULL_OBJECT" {
					h.Write([]byte(p1 + p2))
				} else {
					for _, p := range []string{p1, p2} {
						x := a.sig().New()
						x.Write([]byte(p))
						h.Write(x.Sum(nil))
					}
					want = "-2"
				}
				want = base64.StdEncoding.EncodeToString(h.Sum(nil)) + want
				r.fails("BadDigest", "POST", "/b/k?uploadId="+id, doc, a.header()+": "+base64.StdEncoding.EncodeToString(make([]byte, a.size())))
				if w := r.ok("POST", "/b/k?uploadId="+id, doc, a.header()+": "+want); !strings.Contains(w.body, want) {
					t.Errorf("%s: want %s", w.body, want)
				}
				w := r.ok("HEAD", "/b/k", "", "x-amz-checksum-mode: ENABLED")
				r.same("sum", w.Header().Get(a.header())+w.Header().Get("x-amz-checksum-type"), want+kind)
				var res attributes
				r.xml(r.ok("GET", "/b/k?attributes", "", "x-amz-object-attributes: ETag,Checksum,ObjectParts,ObjectSize,StorageClass"), &res)
				r.same("attributes", fmt.Sprint(*res.ObjectSize, res.ObjectParts.PartsCount, len(res.ObjectParts.Part), res.StorageClass),
					fmt.Sprint(len(p1+p2), 2, 2, "STANDARD"))
			})
		}
	}
}

func TestCopyPart(t *testing.T) {
	r := newRig(t)
	body := pattern(minPart+1000, 5)
	r.path("b/src", body)
	id := r.begin("k")
	var res copyResult
	for n, spec := range map[int]string{1: fmt.Sprintf("bytes=0-%d", minPart-1), 2: fmt.Sprintf("bytes=%d-%d", minPart, len(body)-1)} {
		w := r.ok("PUT", fmt.Sprintf("/b/k?partNumber=%d&uploadId=%s", n, id), "", "x-amz-copy-source: b/src", "x-amz-copy-source-range: "+spec)
		r.xml(w, &res)
	}
	var parts partList
	r.xml(r.ok("GET", "/b/k?uploadId="+id, ""), &parts)
	r.ok("POST", "/b/k?uploadId="+id, partsDoc(map[int]string{1: parts.Part[0].ETag, 2: parts.Part[1].ETag}))
	r.same("content", r.ok("GET", "/b/k", "").body == body, true)
	id = r.begin("k")
	for _, spec := range []string{"bytes=0-", "bytes=-5", "0-5", fmt.Sprintf("bytes=5-%d", len(body)), "bytes=99999999-999999999"} {
		if w := r.send("PUT", "/b/k?partNumber=1&uploadId="+id, "", "x-amz-copy-source: b/src", "x-amz-copy-source-range: "+spec); w.Code/100 != 4 {
			t.Errorf("range %q: %d %s", spec, w.Code, w.body)
		}
	}
}

// Parts that come at once, some of them twice, while the upload is completed.
func TestPartsAtOnce(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	id := r.begin("k")
	full := pattern(minPart, 1)
	var mu sync.Mutex
	etags := map[int]string{}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			n := 1 + i%6
			e := r.part("k", id, n, full)
			mu.Lock()
			defer mu.Unlock()
			etags[n] = e
		})
	}
	wg.Wait()
	var late sync.WaitGroup
	for range 4 {
		late.Go(func() { r.send("PUT", "/b/k?partNumber=3&uploadId="+id, strings.Repeat("z", minPart)) })
	}
	w := r.send("POST", "/b/k?uploadId="+id, partsDoc(etags))
	late.Wait()
	if w.Code == 200 {
		got := r.ok("GET", "/b/k", "").body
		if got != strings.Repeat(full, 6) {
			t.Error("a part that came late is in the object")
		}
		left(r, 4)
	} else if !strings.Contains(w.body, "InvalidPart") {
		t.Errorf("%d %s", w.Code, w.body)
	}
}

// failing refuses some requests, as a volume does whose node loses its role.
type failing struct {
	Volume
	kind volume.OpKind
	left int // that are refused; once all are, none
}

func (f *failing) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if req.Kind == f.kind && f.left > 0 {
		f.left--
		return volume.Result{}, volume.Fenced
	}
	return f.Volume.Do(ctx, req)
}

// A completion that was not carried out is not taken for one that was, whether its parts
// could stay where they were or not.
func TestCompletionThatFailed(t *testing.T) {
	for _, ns := range [][]int{{1, 2}, {2, 5}} {
		t.Run(fmt.Sprint(ns), func(t *testing.T) {
			var f *failing
			r := newRig(t, func(c *Config) {
				f = &failing{Volume: c.Volume, kind: volume.OpPublish}
				c.Volume = f
			})
			r.path("b/", "")
			id := r.begin("k")
			p1, p2 := pattern(minPart, 1), "rest"
			etags := map[int]string{ns[0]: r.part("k", id, ns[0], p1), ns[1]: r.part("k", id, ns[1], p2)}
			f.left = 1
			r.fails("ServiceUnavailable", "POST", "/b/k?uploadId="+id, partsDoc(etags))
			r.fails("NoSuchKey", "GET", "/b/k", "")
			r.ok("POST", "/b/k?uploadId="+id, partsDoc(etags))
			r.same("content", r.ok("GET", "/b/k", "").body == p1+p2, true)
			left(r, 4)
		})
	}
}

// publishing does something right before an object would get its name, once.
type publishing struct {
	Volume
	do func()
}

func (v *publishing) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if req.Kind == volume.OpPublish && v.do != nil {
		do := v.do
		v.do = nil
		do()
	}
	return v.Volume.Do(ctx, req)
}

// A completion while a part is still coming in leaves alone what came of it, if it is refused in the end.
func TestCompletionWhilePartComes(t *testing.T) {
	bodies := map[int]string{1: pattern(minPart, 1), 2: pattern(minPart, 2), 3: pattern(minPart+9, 3)} // 3 does not fit behind the others
	dir := func(r *rig) { r.path("b/d/", "") }
	for _, row := range []struct {
		name       string
		ask        []int
		key, code  string     // "": not refused
		now, later func(*rig) // before the completion; before it publishes
		undo       volume.OpKind
	}{
		{"directory", []int{1}, "d", "ExistingObjectIsDirectory", dir, nil, volume.OpRmdir},
		{"no directory", []int{1}, "d/k", "ObjectParentIsFile", func(r *rig) { r.path("b/d", "x") }, nil, volume.OpUnlink},
		{"directory at the last moment", []int{1}, "d", "ExistingObjectIsDirectory", nil, dir, volume.OpRmdir},
		{"another object", []int{1}, "d", "PreconditionFailed", nil, func(r *rig) { r.path("b/d", "x") }, volume.OpUnlink},
		{"gap", []int{1, 3}, "d", "ExistingObjectIsDirectory", nil, dir, volume.OpRmdir},
		{"done", []int{1}, "d", "", nil, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			var v *publishing
			r := newRig(t, func(c *Config) {
				v = &publishing{Volume: c.Volume}
				c.Volume = v
			})
			b := r.path("b/", "")
			id := r.begin(row.key)
			etags, all := map[int]string{}, map[int]string{}
			for _, n := range row.ask {
				etags[n] = r.part(row.key, id, n, bodies[n])
				all[n] = etags[n]
			}
			ledger, err := strconv.ParseUint(id[:16], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := r.s.readSlot(t.Context(), volume.Ino(ledger), slotDivide)
			if err != nil {
				t.Fatal(err)
			}
			body, feed := io.Pipe()
			req := request(t.Context(), "PUT", fmt.Sprintf("/b/%s?partNumber=2&uploadId=%s", row.key, id), bodies[2])
			req.Body = body
			w := httptest.NewRecorder()
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				r.s.ServeHTTP(w, req)
				body.Close()
			}()
			const sent = 2 * blockLen
			io.WriteString(feed, bodies[2][:sent])
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				a, err := r.m.GetAttr(t.Context(), d.ino)
				if err != nil {
					t.Fatal(err)
				}
				if a.Size == minPart+sent {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("the data have %d bytes", a.Size)
				}
			}
			complete := func(etags map[int]string, extra ...string) *reply {
				return r.send("POST", fmt.Sprintf("/b/%s?uploadId=%s", row.key, id), partsDoc(etags), extra...)
			}
			finish := func() {
				io.WriteString(feed, bodies[2][sent:])
				feed.Close()
				<-answered
			}
			if row.code == "" {
				r.same("completion", complete(etags).Code, 200)
				finish()
				r.same("late part", fmt.Sprint(w.Code, strings.Contains(w.Body.String(), "<Code>NoSuchUpload<")), "404 true")
				r.same("object", r.ok("GET", "/b/"+row.key, "").body == bodies[1], true)
				left(r, 4)
				return
			}
			if row.later != nil {
				v.do = func() { row.later(r) }
			} else {
				row.now(r)
			}
			before := r.m.Position().Version
			if res := complete(etags, "If-None-Match: *"); !strings.Contains(res.body, "<Code>"+row.code+"<") {
				t.Fatalf("%d %s", res.Code, res.body)
			}
			if row.now != nil { // known before anything was moved
				r.same("version", r.m.Position().Version, before)
			}
			r.do(volume.Request{Kind: row.undo, Parent: b, Name: "d"})
			finish()
			r.same("part", w.Code, 200)
			all[2] = w.Header().Get("ETag")
			want := ""
			for n := 1; n <= 3; n++ {
				if all[n] != "" {
					want += bodies[n]
				}
			}
			res := complete(all)
			r.same("completion", fmt.Sprint(res.Code, strings.Contains(res.body, "<Error>")), "200 false")
			if got := r.ok("GET", "/b/"+row.key, "").body; got != want {
				t.Errorf("the object is another than its parts: %d bytes of %d", len(got), len(want))
			}
		})
	}
}
