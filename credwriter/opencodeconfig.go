package credwriter

import (
	"bytes"
	"fmt"
	"path/filepath"

	"patrol/rotator/atomicfile"
)

// openCodeConfig is what OpenCode's configuration says of the providers that are
// Databricks'.
type openCodeConfig struct {
	bases   map[string]openCodeOption // options.baseURL, or api, by provider
	apiKeys map[string]openCodeOption // options.apiKey
	err     error                     // why a file can't be read: then nothing is known for certain
}

// openCodeOption is a text and the path of the file that it comes from.
type openCodeOption struct{ text, path string }

// OpenCodeConfigs returns the paths of OpenCode's configuration, of which the last
// one counts most. What a project's folder adds can't be known.
func OpenCodeConfigs(getenv func(string) string, home string) []string {
	config := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(config) {
		config = filepath.Join(home, ".config")
	}
	var paths []string
	for _, name := range []string{"config.json", "opencode.json", "opencode.jsonc"} {
		paths = append(paths, filepath.Join(config, "opencode", name))
	}
	if own := getenv("OPENCODE_CONFIG"); filepath.IsAbs(own) {
		paths = append(paths, own)
	}
	return paths
}

// readOpenCodeConfig reads the files that are there and merges them as OpenCode does.
func readOpenCodeConfig(paths []string) openCodeConfig {
	c := openCodeConfig{bases: map[string]openCodeOption{}, apiKeys: map[string]openCodeOption{}}
	for _, path := range paths {
		text, exists, err := atomicfile.Read(path)
		if err == nil && exists {
			err = c.merge(path, text)
		}
		if err != nil {
			c.err = fmt.Errorf("%s can't be read: %w", path, err)
			return c
		}
	}
	return c
}

// merge adds what a file says, in place of what those before it have said.
func (c *openCodeConfig) merge(path string, text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil // OpenCode takes it for none
	}
	root, err := parseJSON(plainJSON(text))
	if err != nil {
		return err
	}
	providers, _ := root.last("provider")
	for _, m := range providers.members {
		if !isProvider(m.name) {
			continue
		}
		options, _ := m.value.last("options")
		api, hasAPI := m.value.last("api")
		base, hasBase := options.last("baseURL")
		if !hasBase && hasAPI && c.bases[m.name].text == "" {
			base, hasBase = api, true
		}
		if hasBase {
			c.bases[m.name] = openCodeOption{base.str, path}
		}
		if key, ok := options.last("apiKey"); ok {
			c.apiKeys[m.name] = openCodeOption{key.str, path}
		}
	}
	return nil
}
