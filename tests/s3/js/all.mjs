// Drives an S3 gateway with version 3 of the AWS SDK for JavaScript: streams, which it
// sends in chunks, without a length and with a checksum behind them; uploads in parts;
// URLs. And with minio-js, which signs every chunk.
//
//	EP=http://127.0.0.1:PORT node all.mjs BYTES...
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import {
	CompleteMultipartUploadCommand, CopyObjectCommand, CreateBucketCommand, CreateMultipartUploadCommand, DeleteBucketCommand, DeleteObjectsCommand,
	GetObjectCommand, GetObjectTaggingCommand, HeadObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client, UploadPartCommand,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import * as Minio from "minio";

const Bucket = "js-sdk";
const endpoint = process.env.EP;
const client = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true });

function check(good, what) {
	if (!good) throw new Error(what);
}

// stream is content of a length that cannot be read twice, with its hash.
function stream(n, hash) {
	const block = randomBytes(65536);
	async function* pieces() {
		for (let left = n; left > 0; left -= block.length) {
			const piece = block.subarray(0, Math.min(left, block.length));
			hash.update(piece);
			yield piece;
		}
	}
	return Readable.from(pieces(), { objectMode: false });
}

async function hashOf(body) {
	const hash = createHash("sha256");
	for await (const piece of body) hash.update(piece);
	return hash.digest("hex");
}

async function moves(n) {
	const sent = createHash("sha256");
	await client.send(new PutObjectCommand({ Bucket, Key: "stream", Body: stream(n, sent), ContentLength: n }));
	let got = await client.send(new GetObjectCommand({ Bucket, Key: "stream", ChecksumMode: "ENABLED" }));
	check(await hashOf(got.Body) === sent.digest("hex"), `a stream of ${n} bytes differs`);
	const parts = createHash("sha256");
	await new Upload({ client, params: { Bucket, Key: "parts", Body: stream(n, parts) }, partSize: 5 << 20, queueSize: 3 }).done();
	got = await client.send(new GetObjectCommand({ Bucket, Key: "parts" }));
	check(await hashOf(got.Body) === parts.digest("hex"), `${n} bytes in parts differ`);
}

async function urls() {
	const Key = "a b/ü+c";
	const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key }), { expiresIn: 60 });
	let res = await fetch(put, { method: "PUT", body: "by URL" });
	check(res.ok, `PUT of a URL: ${res.status} ${await res.text()}`);
	const get = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: 60 });
	res = await fetch(get);
	const text = await res.text();
	check(text === "by URL", `GET of a URL: ${res.status} ${text}`);
	// The presigner moves metadata and tags into the URL.
	const more = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key, Metadata: { color: "light blue" }, Tagging: "a=1&b=2" }), { expiresIn: 60 });
	res = await fetch(more, { method: "PUT", body: "by URL" });
	check(res.ok, `PUT of a URL with metadata: ${res.status} ${await res.text()}`);
	const head = await client.send(new HeadObjectCommand({ Bucket, Key }));
	check(head.Metadata.color === "light blue", `metadata of a URL: ${JSON.stringify(head.Metadata)}`);
	const tags = await client.send(new GetObjectTaggingCommand({ Bucket, Key }));
	check(tags.TagSet.length === 2, `tags of a URL: ${JSON.stringify(tags.TagSet)}`);
}

async function checksums() {
	for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
		await client.send(new PutObjectCommand({ Bucket, Key: "sum", Body: "sum", ChecksumAlgorithm }));
		const head = await client.send(new HeadObjectCommand({ Bucket, Key: "sum", ChecksumMode: "ENABLED" }));
		check(head[`Checksum${ChecksumAlgorithm}`], `HEAD has no ${ChecksumAlgorithm}`);
		const up = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: "sums", ChecksumAlgorithm }));
		const part = await client.send(new UploadPartCommand({ Bucket, Key: "sums", UploadId: up.UploadId, PartNumber: 1, Body: "x", ChecksumAlgorithm }));
		const { ETag, ...rest } = part;
		const sum = rest[`Checksum${ChecksumAlgorithm}`];
		await client.send(new CompleteMultipartUploadCommand({
			Bucket, Key: "sums", UploadId: up.UploadId, MultipartUpload: { Parts: [{ PartNumber: 1, ETag, [`Checksum${ChecksumAlgorithm}`]: sum }] },
		}));
	}
}

async function minio() {
	const at = new URL(endpoint);
	const mc = new Minio.Client({
		endPoint: at.hostname, port: Number(at.port), useSSL: false, accessKey: process.env.AWS_ACCESS_KEY_ID, secretKey: process.env.AWS_SECRET_ACCESS_KEY, region: "us-east-1",
	});
	for (const n of [0, 1, 70000, 6 << 20]) {
		const sent = createHash("sha256");
		await mc.putObject(Bucket, "minio", stream(n, sent), n);
		check(await hashOf(await mc.getObject(Bucket, "minio")) === sent.digest("hex"), `minio-js: ${n} bytes differ`);
	}
	check((await mc.statObject(Bucket, "minio")).size === 6 << 20, "minio-js: stat");
	const url = await mc.presignedGetObject(Bucket, "minio", 60);
	check((await fetch(url)).ok, "minio-js: presigned GET");
}

async function end() {
	await client.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/sum` }));
	const page = await client.send(new ListObjectsV2Command({ Bucket }));
	const res = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: page.Contents.map(({ Key }) => ({ Key })) } }));
	check(!res.Errors?.length, JSON.stringify(res.Errors));
	await client.send(new DeleteBucketCommand({ Bucket }));
}

await client.send(new CreateBucketCommand({ Bucket }));
for (const n of process.argv.slice(2)) await moves(Number(n));
await urls();
await checksums();
await minio();
await end();
console.log("all of the SDK went well");
