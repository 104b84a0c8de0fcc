package hostdir

func init() {
	ways["no openat2"] = func(d *Dir) { d.byHandle = false; d.sys.noOpenat2.Store(true) }
}
