package credwriter

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"gopkg.in/ini.v1"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// Profile is a section of .databrickscfg.
type Profile struct {
	Name   string
	Host   string    // as the SDKs take it: with scheme, without path; as it stands if it is no host
	Token  pat.Token // with Host; zero if there is none
	Exists bool

	// OtherAuth names the other way to sign in that the profile has, with the
	// key that says so: "OAuth (client_id)". The SDKs refuse a token beside
	// it, or ignore it. Empty if there is none.
	OtherAuth string
}

const settings = "__settings__"

// ReadProfile reads a profile. Without a name it is the one that the SDKs
// take: that of default_profile in [__settings__], else DEFAULT. A missing
// file or profile is no error.
func ReadProfile(path, profile string) (Profile, error) {
	text, _, err := atomicfile.Read(path)
	if err != nil {
		return Profile{}, err
	}
	f, err := parseINI(text)
	if err != nil {
		return Profile{}, fmt.Errorf("reading %s: %w", path, err)
	}
	all := f.values()
	name, err := pickProfile(all, profile)
	if err != nil {
		return Profile{}, fmt.Errorf("reading %s: %w", path, err)
	}
	keys := all[name]
	p := Profile{Name: name, Host: keys["host"], Exists: f.section(name) != nil, OtherAuth: otherAuth(keys)}
	if h, err := pat.ParseHost(p.Host); err == nil {
		p.Host = h.String()
	}
	if value := keys["token"]; value != "" {
		p.Token = pat.New(value, p.Host)
	}
	return p, nil
}

// pickProfile returns the profile that the SDKs take when asked for this one.
func pickProfile(all values, profile string) (string, error) {
	name := cmp.Or(profile, strings.TrimSpace(all[settings]["default_profile"]), ini.DefaultSection)
	if name == settings {
		return "", errors.New("[__settings__] is no profile: name another with --profile")
	}
	return name, nil
}

// otherAuths are the keys of a profile that sign in by other means than a
// token.
var otherAuths = []struct{ key, method string }{
	{"client_id", "OAuth"},
	{"client_secret", "OAuth"},
	{"username", "a password"},
	{"password", "a password"},
	{"azure_workspace_resource_id", "Azure"},
	{"azure_use_msi", "Azure"},
	{"azure_client_id", "Azure"},
	{"azure_client_secret", "Azure"},
	{"azure_tenant_id", "Azure"},
	{"azure_login_app_id", "Azure"},
	{"google_service_account", "Google"},
	{"google_credentials", "Google"},
	{"metadata_service_url", "a metadata service"},
	{"databricks_id_token_filepath", "OIDC"},
	{"oidc_token_filepath", "OIDC"},
	{"oidc_token_env", "OIDC"},
}

// otherAuth names the way to sign in that keeps a token from being used.
func otherAuth(keys map[string]string) string {
	switch auth := keys["auth_type"]; auth {
	case "":
	case "pat": // then the SDKs look at nothing else
		return ""
	default:
		return pat.Redact(auth) + " (auth_type)"
	}
	for _, a := range otherAuths {
		if keys[a.key] != "" {
			return fmt.Sprintf("%s (%s)", a.method, a.key)
		}
	}
	return ""
}
