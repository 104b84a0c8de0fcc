package admin

import (
	"bytes"
	"html/template"
	"net/http"
)

// page is the status for people with a browser: one answer, no script, nothing
// fetched from elsewhere.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	st := s.statusNow(r.Context())
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, struct {
		Status
		Servers []ServerInfo
	}{st, ServersOf(st).Servers}); err != nil {
		writeError(w, errorOf(err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Write(body.Bytes()) // an error means that the asker is gone
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>{{.NodeID}} - WolfDisk</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em; color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0 }
th, td { text-align: left; padding: .2em .8em .2em 0; border-bottom: 1px solid #ddd; vertical-align: top }
.warn { border-left: 4px solid #c60; padding-left: .6em; margin: .5em 0 }
</style>
</head>
<body>
<h1>{{.NodeID}}: {{.Role}}, {{.State}}</h1>
{{range .Warnings}}<p class="warn"><b>{{.Code}}</b> {{.Text}}<br>{{.Hint}}</p>
{{end}}{{if .ConflictsOpen}}<p class="warn">{{.ConflictsOpen}} open conflicts</p>
{{end}}<table>
<tr><th>cluster</th><td>{{.ClusterID}}</td></tr>
<tr><th>volume</th><td>{{.VolumeID}}</td></tr>
<tr><th>leader</th><td>{{.LeaderID}}</td></tr>
<tr><th>version</th><td>{{.Position.Version}} (durable {{.DurableVersion}}), epoch {{.Position.Epoch}} of {{.Position.EpochLeader}}</td></tr>
<tr><th>log</th><td>{{.Oplog.First}} to {{.Oplog.Last}}, {{.Oplog.Bytes}} bytes</td></tr>
<tr><th>volume holds</th><td>{{.Files}} files, {{.Bytes}} bytes</td></tr>
<tr><th>mount</th><td>{{if .Mount.Path}}{{.Mount.Path}} ({{.Mount.Driver}}){{else}}none{{end}}</td></tr>
<tr><th>software</th><td>{{.Software}}</td></tr>
</table>
<table>
<tr><th>node</th><th>role</th><th>state</th><th>address</th><th>applied</th><th>durable</th><th>lag</th><th>software</th></tr>
{{range .Servers}}<tr><td>{{.ID}}{{if .Self}} (this node){{end}}</td><td>{{.Role}}</td><td>{{.State}}</td><td>{{.Address}}</td><td>{{.Applied}}</td><td>{{.Durable}}</td><td>{{.LagOps}} ops, {{printf "%.1f" .LagSeconds}} s</td><td>{{.Software}}</td></tr>
{{end}}</table>
</body>
</html>
`))
