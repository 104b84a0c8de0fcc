package cluster

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo answers every byte; it returns its address.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c) // ends with the connection
			}()
		}
	}()
	return ln.Addr().String()
}

func proxied(t *testing.T) (*Proxy, net.Conn) {
	t.Helper()
	p, err := NewProxy(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, dial(t, p)
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func say(c net.Conn, text string) (string, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	buf := make([]byte, len(text))
	_, err := io.ReadFull(c, buf)
	return string(buf), err
}

func TestProxyCounts(t *testing.T) {
	p, c := proxied(t)
	if got, err := say(c, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if to, from := p.Bytes(); to == 5 && from == 5 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("counted %d and %d, want 5 and 5", to, from)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestProxyShut(t *testing.T) {
	p, c := proxied(t)
	if _, err := say(c, "x"); err != nil {
		t.Fatal(err)
	}
	p.Shut(true)
	if _, err := say(c, "x"); err == nil {
		t.Fatal("a connection outlived the shutting")
	}
	if _, err := say(dial(t, p), "x"); err == nil {
		t.Fatal("a new connection was served while shut")
	}
	p.Shut(false)
	if _, err := say(dial(t, p), "x"); err != nil {
		t.Fatal(err)
	}
}

func TestProxyStall(t *testing.T) {
	p, c := proxied(t)
	p.Stall(true)
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 4)
	if n, _ := c.Read(buf); n != 0 {
		t.Fatalf("%q came through a stalled proxy", buf[:n])
	}
	p.Stall(false)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "late" {
		t.Fatalf("%q, %v", buf, err)
	}
}

func TestProxyCloseEndsAStalledConnection(t *testing.T) {
	p, c := proxied(t)
	p.Stall(true)
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close hangs")
	}
}

func TestProxyHarm(t *testing.T) {
	p, c := proxied(t)
	p.Harm(func(fromTarget bool, off int64, piece []byte) bool {
		if !fromTarget {
			piece[0] ^= 1
		}
		return fromTarget && off >= 1
	})
	if got, err := say(c, "a"); err != nil || got != "`" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := say(c, "b"); err == nil {
		t.Fatalf("%q came after the cut", got)
	}
}
