package credwriter_test

import (
	"fmt"
	"os"
	"path/filepath"

	"patrol/credwriter"
	"patrol/rotator/pat"
)

func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, ".databrickscfg")
	text := "# work\n[DEFAULT]\nhost  = https://dbc-1.cloud.databricks.com\ntoken = dapi1\n\n" +
		"[ci]\nhost  = https://dbc-2.cloud.databricks.com\ntoken = dapi1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		panic(err)
	}

	next := pat.New("dapi2", "https://dbc-1.cloud.databricks.com")
	cfg := credwriter.NewDatabrickscfg(path, "DEFAULT", credwriter.Owner{
		Host: next.Host,
		Ours: func(hash string) bool { return hash == pat.Hash("dapi1") },
	})
	left, err := cfg.Write(next, nil)
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(content))
	fmt.Println(len(left), "place was left alone: it belongs to another host")
	// Output:
	// # work
	// [DEFAULT]
	// host  = https://dbc-1.cloud.databricks.com
	// token = dapi2
	//
	// [ci]
	// host  = https://dbc-2.cloud.databricks.com
	// token = dapi1
	// 1 place was left alone: it belongs to another host
}
