package service

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"patrol/proxy"
)

func TestCheckLoops(t *testing.T) {
	ln4, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln4.Close() }()
	port := ln4.Addr().(*net.TCPAddr).Port
	any4, any6 := &net.TCPAddr{Port: port}, &net.TCPAddr{IP: net.IPv6zero, Port: port}
	six := &net.TCPAddr{IP: net.IPv6loopback, Port: port}
	for _, tt := range []struct {
		url  string
		at   []net.Addr
		want bool
	}{
		{"http://127.0.0.1:%d", []net.Addr{ln4.Addr()}, true},
		{"http://127.0.0.1:%d/x", []net.Addr{six, ln4.Addr()}, true},
		{"https://localhost:%d", []net.Addr{ln4.Addr()}, true},
		{"http://[::1]:%d", []net.Addr{six}, true},
		{"http://[::ffff:127.0.0.1]:%d", []net.Addr{ln4.Addr()}, true},
		{"http://0.0.0.0:%d", []net.Addr{ln4.Addr()}, true},
		{"http://127.0.0.1:%d", []net.Addr{any4}, true},
		{"http://127.0.0.1:%d", []net.Addr{any6}, true},
		{"http://127.9.9.9:%d", []net.Addr{any4}, true},
		{"http://127.9.9.9:%d", []net.Addr{ln4.Addr()}, false},
		{"http://127.0.0.1:%d", []net.Addr{six}, false},
		{"http://127.0.0.1:1%d", []net.Addr{ln4.Addr()}, false},
		{"http://192.0.2.1:%d", []net.Addr{any4}, false},
		{"http://nothing.invalid:%d", []net.Addr{any4}, false},
		{"http://127.0.0.1:%d", nil, false},
	} {
		url := tt.url
		if strings.Contains(url, ":1%d") {
			url = strings.Replace(url, ":1%d", ":1", 1)
		} else {
			url = fmt.Sprintf(url, port)
		}
		err := checkLoops(t.Context(), []proxy.Upstream{{Setting: "--host", URL: "https://192.0.2.2"}, {Setting: "--anthropic-upstream", URL: url}}, tt.at)
		if (err != nil) != tt.want || err != nil && !strings.Contains(err.Error(), "--anthropic-upstream") {
			t.Errorf("%s at %v: %v", url, tt.at, err)
		}
	}
}
