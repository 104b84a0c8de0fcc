package s3

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wolfdisk/s3/sig"
)

// bench is a place for a client: files, and an environment that leads to the rig and
// nowhere else.
type bench struct {
	*rig
	path string // of the program
	dir  string
	home string
}

// installed is the folder that `make s3-clients` installs into.
func installed() string {
	if dir := os.Getenv("WDTEST_S3_CLIENTS"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../dist/s3-clients")
	if err != nil {
		return ""
	}
	return dir
}

// find finds a program there or in the path; without it the test is skipped.
func find(t *testing.T, name string) string {
	t.Helper()
	for _, full := range []string{filepath.Join(installed(), "bin", name), name} {
		if path, err := exec.LookPath(full); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed: `make s3-clients` installs it", name)
	return ""
}

func newBench(t *testing.T, program string) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), home: t.TempDir()}
	b.path = find(t, program)
	if testing.Short() {
		b.rig = newRig(t, "chunks")
	} else {
		b.rig = newDiskRig(t, "chunks")
	}
	b.keys.Store(&sig.Key{Access: "wolfmain", Secret: "wolfmainsecret"})
	return b
}

// run runs a program in the bench's directory; every "@EP" in its arguments is the
// gateway's address, "@HOST" that without its scheme.
func (b *bench) run(args ...string) string {
	b.t.Helper()
	limit := 3 * time.Minute
	if !testing.Short() {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	for i := range args {
		args[i] = strings.ReplaceAll(strings.ReplaceAll(args[i], "@HOST", strings.TrimPrefix(b.url, "http://")), "@EP", b.url)
	}
	program := args[0]
	if program == filepath.Base(b.path) {
		program = b.path
	}
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.home, "AWS_ACCESS_KEY_ID=wolfmain", "AWS_SECRET_ACCESS_KEY=wolfmainsecret", "AWS_REGION=us-east-1",
		"AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=" + b.home + "/config", "AWS_SHARED_CREDENTIALS_FILE=" + b.home + "/cred",
		"RESTIC_PASSWORD=p", "EP=" + b.url, "MC_CONFIG_DIR=" + b.home, "TMPDIR=" + b.dir, "LC_ALL=C.UTF-8", "NO_PROXY=127.0.0.1", "PYENV_ROOT=" + os.Getenv("PYENV_ROOT"), "PYENV_VERSION=" + os.Getenv("PYENV_VERSION")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("%s: %v\n%.3000s", strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func (b *bench) file(name string, size int) string {
	b.t.Helper()
	full := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		b.t.Fatal(err)
	}
	content := block(size, byte(size))
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return content
}

func (b *bench) equal(name, want string) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil || string(got) != want {
		b.t.Fatalf("%s has %d bytes, not the %d that were sent; %v", name, len(got), len(want), err)
	}
}

// sizes are the lengths of what is sent and got back.
func sizes() []int {
	list := []int{0, 1, 4096, 1 << 20, 20<<20 + 17}
	if !testing.Short() {
		list = append(list, 300<<20+1)
	}
	return list
}

func TestAWS(t *testing.T) {
	b := newBench(t, "aws")
	aws := func(args ...string) string {
		return b.run(append([]string{"aws", "--endpoint-url", "@EP"}, args...)...)
	}
	aws("s3", "mb", "s3://box")
	for _, n := range sizes() {
		name := fmt.Sprintf("f%d", n)
		want := b.file(name, n)
		aws("s3", "cp", name, "s3://box/dir with space/ü+"+name, "--metadata", "a=1", "--content-type", "text/x")
		aws("s3", "cp", "s3://box/dir with space/ü+"+name, "back")
		b.equal("back", want)
	}
	if out := aws("s3", "ls", "--recursive", "s3://box/"); strings.Count(out, "ü+f") != len(sizes()) {
		t.Errorf("ls: %s", out)
	}
	for i := range 30 {
		b.file(fmt.Sprintf("tree/%d/%d", i%3, i), i*100)
	}
	aws("s3", "sync", "tree", "s3://box/tree")
	if out := aws("s3", "sync", "tree", "s3://box/tree"); out != "" {
		t.Errorf("a second sync does something: %s", out)
	}
	aws("s3", "sync", "s3://box/tree", "back-tree")
	b.run("diff", "-r", "tree", "back-tree")
	aws("s3", "cp", "s3://box/tree/0/3", "s3://box/copied")
	aws("s3", "mv", "s3://box/copied", "s3://box/moved")
	for _, kind := range []string{"put-object-tagging --tagging TagSet=[{Key=a,Value=1}]", "get-object-tagging", "get-object-acl", "head-object",
		"get-object-attributes --object-attributes ETag ObjectSize", "delete-object-tagging"} {
		args := strings.Fields(kind)
		aws(append([]string{"s3api", args[0], "--bucket", "box", "--key", "moved"}, args[1:]...)...)
	}
	algorithms := []string{"CRC32", "SHA1", "SHA256"}
	if exec.Command("python3", "-c", "import awscrt").Run() == nil {
		algorithms = append(algorithms, "CRC32C") // which a program without that library cannot compute
	}
	for _, a := range algorithms {
		aws("s3api", "put-object", "--bucket", "box", "--key", "sum", "--body", "f4096", "--checksum-algorithm", a)
		if out := aws("s3api", "head-object", "--bucket", "box", "--key", "sum", "--checksum-mode", "ENABLED"); !strings.Contains(out, "Checksum"+a) {
			t.Errorf("head-object with %s: %s", a, out)
		}
	}
	url := strings.TrimSpace(aws("s3", "presign", "s3://box/moved"))
	b.run("curl", "-sf", "-o", "signed", url)
	b.equal("signed", block(300, 300%256))
	aws("s3", "rm", "--recursive", "s3://box/")
	aws("s3", "rb", "s3://box")
}

// script drives boto3: what the command line does not reach.
const script = `
import boto3, botocore, os, io, urllib.request
from boto3.s3.transfer import TransferConfig
ep = os.environ["EP"]
for style in ("path", "auto"):
    s3 = boto3.client("s3", endpoint_url=ep, config=botocore.config.Config(s3={"addressing_style": style}))
    s3.create_bucket(Bucket="boto")
    data = os.urandom(17 << 20)
    s3.upload_fileobj(io.BytesIO(data), "boto", "big", Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20, max_concurrency=4))
    out = io.BytesIO(); s3.download_fileobj("boto", "big", out)
    assert out.getvalue() == data
    assert s3.head_object(Bucket="boto", Key="big")["ETag"].endswith("-4\"")
    assert s3.get_object(Bucket="boto", Key="big", PartNumber=2)["Body"].read() == data[5 << 20:10 << 20]
    for i in range(25): s3.put_object(Bucket="boto", Key="d/%02d" % i, Body=b"x" * i)
    keys = [o["Key"] for p in s3.get_paginator("list_objects_v2").paginate(Bucket="boto", Prefix="d/", PaginationConfig={"PageSize": 7}) for o in p["Contents"]]
    assert keys == ["d/%02d" % i for i in range(25)], keys
    v = s3.list_object_versions(Bucket="boto", Prefix="d/")["Versions"]
    s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": o["Key"], "VersionId": o["VersionId"]} for o in v]})
    try:
        s3.put_object(Bucket="boto", Key="big", Body=b"", IfNoneMatch="*"); assert False
    except botocore.exceptions.ClientError as e: assert e.response["Error"]["Code"] == "PreconditionFailed", e.response
    except botocore.exceptions.ParamValidationError: pass
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "boto", "Key": "signed"})
    urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""}))
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "boto", "Key": "signed"})
    assert urllib.request.urlopen(url).read() == b"by url"
    v2 = boto3.client("s3", endpoint_url=ep, config=botocore.config.Config(signature_version="s3", s3={"addressing_style": style}))
    url = v2.generate_presigned_url("put_object", Params={"Bucket": "boto", "Key": "signed", "ContentType": "text/plain", "Metadata": {"color": "light blue"}})
    urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": "text/plain"}))
    h = s3.head_object(Bucket="boto", Key="signed")
    assert h["Metadata"] == {"color": "light blue"} and h["ContentType"] == "text/plain", h
    s3.copy({"Bucket": "boto", "Key": "big"}, "boto", "copy", Config=TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20))
    assert s3.get_object(Bucket="boto", Key="copy")["Body"].read() == data
    up = s3.create_multipart_upload(Bucket="boto", Key="up")
    s3.upload_part(Bucket="boto", Key="up", PartNumber=1, UploadId=up["UploadId"], Body=b"1")
    assert len(s3.list_multipart_uploads(Bucket="boto")["Uploads"]) == 1
    assert len(s3.list_parts(Bucket="boto", Key="up", UploadId=up["UploadId"])["Parts"]) == 1
    s3.abort_multipart_upload(Bucket="boto", Key="up", UploadId=up["UploadId"])
    for k in ("big", "signed", "copy"): s3.delete_object(Bucket="boto", Key=k)
    s3.delete_bucket(Bucket="boto")
print("all of boto3 went well")
`

func TestBoto3(t *testing.T) {
	b := newBench(t, "python3")
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("boto3 is not installed")
	}
	if out := b.run("python3", "-c", script); !strings.Contains(out, "went well") {
		t.Error(out)
	}
}

func TestS3cmd(t *testing.T) {
	b := newBench(t, "s3cmd")
	s3cmd := func(args ...string) string {
		return b.run(append([]string{"s3cmd", "--config=/dev/null", "--access_key=wolfmain", "--secret_key=wolfmainsecret", "--host=@HOST", "--host-bucket=@HOST", "--no-ssl", "--no-progress"}, args...)...)
	}
	s3cmd("mb", "s3://box")
	for _, n := range sizes() {
		name := fmt.Sprintf("f%d", n)
		want := b.file(name, n)
		s3cmd("put", name, "s3://box/dir/"+name)
		s3cmd("get", "--force", "s3://box/dir/"+name, "back")
		b.equal("back", want)
	}
	for i := range 20 {
		b.file(fmt.Sprintf("tree/%d/%d", i%3, i), i*100)
	}
	s3cmd("sync", "tree/", "s3://box/tree/")
	s3cmd("sync", "s3://box/tree/", "back-tree/")
	b.run("diff", "-r", "tree", "back-tree")
	s3cmd("info", "s3://box/dir/f1")
	s3cmd("info", "s3://box")
	s3cmd("cp", "s3://box/dir/f1", "s3://box/copy")
	s3cmd("mv", "s3://box/copy", "s3://box/moved")
	s3cmd("multipart", "s3://box")
	url := strings.TrimSpace(s3cmd("signurl", "s3://box/moved", "+600"))
	b.run("curl", "-sf", "-o", "signed", url)
	b.equal("signed", block(1, 1))
	s3cmd("rm", "--recursive", "--force", "s3://box")
	s3cmd("rb", "s3://box")
}

func TestRclone(t *testing.T) {
	b := newBench(t, "rclone")
	conf := fmt.Sprintf("[w]\ntype = s3\nprovider = Other\nendpoint = %s\nforce_path_style = true\naccess_key_id = wolfmain\nsecret_access_key = wolfmainsecret\n", b.url)
	if err := os.WriteFile(filepath.Join(b.dir, "rclone.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	rclone := func(args ...string) string {
		return b.run(append([]string{"rclone", "--config", "rclone.conf"}, args...)...)
	}
	for i := range 60 {
		b.file(fmt.Sprintf("tree/d%d/e %d/ü%d", i%3, i%2, i), i*1000)
	}
	b.file("tree/large", 12<<20)
	rclone("mkdir", "w:box")
	rclone("sync", "tree", "w:box/tree", "--s3-chunk-size", "5M", "--s3-upload-cutoff", "6M")
	rclone("check", "tree", "w:box/tree")
	if out := rclone("sync", "-v", "tree", "w:box/tree"); strings.Contains(out, "Copied") {
		t.Errorf("a second sync copies: %s", out)
	}
	rclone("copy", "w:box/tree", "w:box/copy")
	rclone("sync", "w:box/copy", "back")
	b.run("diff", "-r", "tree", "back")
	rclone("moveto", "w:box/copy/large", "w:box/moved")
	rclone("lsf", "-R", "w:box")
	rclone("purge", "w:box")
}

func TestRestic(t *testing.T) {
	b := newBench(t, "restic")
	for i := range 40 {
		b.file(fmt.Sprintf("tree/d%d/%d", i%3, i), i*5000)
	}
	restic := func(args ...string) string {
		return b.run(append([]string{"restic", "--no-cache", "-r", "s3:@EP/box"}, args...)...)
	}
	restic("init")
	restic("backup", "tree")
	b.file("tree/d1/more", 100000)
	restic("backup", "tree")
	restic("check", "--read-data")
	restic("restore", "latest", "--target", "back")
	b.run("diff", "-r", "tree", "back/tree")
	restic("forget", "--keep-last", "1", "--prune")
	restic("check")
}
