"""The forms of tokens and keys, as their issuers document them and as collected in the rules of
gitleaks 8 (https://github.com/gitleaks/gitleaks, MIT).

detect-secrets 1.5 was tried in place of this table: it knows no Hugging Face token, takes 0.4 s to
import and 3 s for 20,000 lines of a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: The number of a bot, whose digits leave base64 only these letters; then a time, and the secret.
_DISCORD = (
    rb"[DTjz][AEIMQUYcgk][w-z0-5](?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){4,5}\w{0,4}"
    rb"\.[\w-]{6}\.[\w-]{27,38}(?![\w-])"
)
#: The end of a word of letters and digits, and of one with what else a token may hold.
_END, _STOP = rb"(?![A-Za-z0-9])", rb"(?![\w-])"


def _each(what: str, rest: bytes, *prefixes: bytes) -> Iterator[tuple[bytes, str, bytes]]:
    """One form behind several prefixes."""
    return ((prefix, what, prefix + rest) for prefix in prefixes)


def _mixed(least: int, most: int) -> bytes:
    """Letters of both cases and digits, for prefixes that words have as well."""
    long = b"(?=[A-Za-z0-9]{%d})" % least
    kinds = b"".join(b"(?=[A-Za-z0-9]{0,%d}%s)" % (most, kind) for kind in (b"[A-Z]", b"\\d"))
    return long + kinds + b"[A-Za-z0-9]{%d,%d}" % (least, most) + _END


#: prefix -> (what it is, the whole form). Lengths are bounded, so that hostile text stays linear.
TOKENS: tuple[tuple[bytes, str, bytes], ...] = (
    (b"hf_", "a Hugging Face token", rb"hf_[A-Za-z0-9]{30,64}" + _END),
    (b"api_org_", "a Hugging Face organisation token", rb"api_org_[A-Za-z0-9]{34}" + _END),
    *_each("a Hugging Face token", rb"[\w-]{20,4096}", b"hf_oauth_", b"hf_jwt_"),
    *_each("an AWS access key", rb"[A-Z0-9]{16}" + _END, b"AKIA", b"ASIA", b"ABIA", b"ACCA"),
    (b"ABSK", "an AWS Bedrock key", rb"ABSK[A-Za-z0-9+/]{100,300}"),
    *_each("an AWS session token", rb"[A-Za-z0-9+/]{100,2000}", b"IQoJb3JpZ2lu", b"FwoGZXIvYXdz"),
    (b"LTAI", "an Alibaba access key", rb"LTAI[A-Za-z0-9]{20}" + _END),
    (b"AKID", "a Tencent access key", rb"AKID[A-Za-z0-9]{32}" + _END),
    (b"AKLT", "a Volcano Engine access key", rb"AKLT[\w-]{40,60}" + _STOP),
    *_each("a GitHub token", rb"[A-Za-z0-9]{36,255}", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
    (b"github_pat_", "a GitHub token", rb"github_pat_\w{36,255}"),
    *_each("a GitLab token", rb"[\w-]{20,255}", b"glpat-", b"glrt-", b"gldt-", b"glcbt-", b"glft-",
           b"glimt-", b"glagent-", b"glsoat-", b"glffct-", b"gloas-", b"GR1348941"),
    (b"glptt-", "a GitLab token", rb"glptt-[a-f0-9]{40}"),
    (b"ATBB", "a Bitbucket token", rb"ATBB[A-Za-z0-9]{32}" + _END),
    (b"sess-", "a session key of OpenAI", rb"sess-[A-Za-z0-9]{40}" + _END),
    (b"csk-", "a Cerebras API key", rb"csk-[a-z0-9]{48}" + _END),
    (b"tgp_v1_", "a Together API key", rb"tgp_v1_[\w-]{40,60}" + _STOP),
    (b"fw_", "a Fireworks API key", rb"fw_(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{22,24}" + _END),
    (b"sk-", "an API key of OpenAI's form",
     rb"sk-(?:(?:proj|svcacct|admin|None|ant|or|lf|helicone)-[\w-]{20,255}|[A-Za-z0-9]{32,255}"
     rb"|(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{20,31})" + _END),
    (b"xox", "a Slack token", rb"xox[abcdeoprs]-[A-Za-z0-9-]{10,255}"),
    (b"xapp-", "a Slack token", rb"xapp-\d-[A-Za-z0-9-]{10,255}"),
    (b"AIza", "a Google API key", rb"AIza[\w-]{35}" + _STOP),
    (b"GOCSPX-", "a Google client secret", rb"GOCSPX-[\w-]{28}" + _STOP),
    *_each("a Stripe key", rb"[A-Za-z0-9]{16,128}", b"sk_live_", b"rk_live_", b"sk_test_",
           b"rk_test_"),
    (b"whsec_", "a signing secret of webhooks", rb"whsec_[A-Za-z0-9+/]{24,64}"),
    (b"sk_", "an ElevenLabs key", rb"sk_[0-9a-f]{48}" + _END),
    (b"pplx-", "a Perplexity API key", rb"pplx-[A-Za-z0-9]{48}" + _END),
    (b"xai-", "an xAI API key", rb"xai-[A-Za-z0-9]{70,90}" + _END),
    (b"nvapi-", "an NVIDIA API key", rb"nvapi-[\w-]{50,80}" + _STOP),
    (b"esecret_", "an Anyscale API key", rb"esecret_[A-Za-z0-9]{26,48}" + _END),
    (b"pa-", "a Voyage API key",
     rb"pa-(?=[\w-]{0,42}[A-Z])(?=[\w-]{0,42}\d)[\w-]{43}" + _STOP),
    (b"jina_", "a Jina API key", rb"jina_[\w-]{60}" + _STOP),
    (b"llx-", "a LlamaCloud API key", rb"llx-[A-Za-z0-9]{40,60}" + _END),
    (b"e2b_", "an E2B API key", rb"e2b_[0-9a-f]{40}" + _END),
    *_each("a Modal token", _mixed(22, 22), b"ak-", b"as-"),
    (b"fc-", "a Firecrawl API key", rb"fc-[0-9a-f]{32}" + _END),
    (b"BSA", "a Brave API key", rb"BSA(?=[\w-]{0,27}\d)[\w-]{27,28}" + _STOP),
    (b"ms-", "a ModelScope token", rb"ms-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}" + _END),
    (b"wandb_v1_", "a Weights & Biases key", rb"wandb_v1_[\w-]{60,120}"),
    (b"eyJhcGlfYWRkcmVzcyI6", "a Neptune token", rb"eyJhcGlfYWRkcmVzcyI6[A-Za-z0-9+/]{60,400}"),
    (b"pcsk_", "a Pinecone key", rb"pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{50,80}"),
    (b"lsv2_", "a LangSmith key", rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    (b"rpa_", "a RunPod key", rb"rpa_[A-Za-z0-9]{40,50}" + _END),
    (b"tvly-", "a Tavily key", rb"tvly-(?:dev-|prod-)?[A-Za-z0-9]{32}" + _END),
    (b"KGAT_", "a Kaggle token", rb"KGAT_[0-9a-f]{32}" + _END),
    *_each("a DigitalOcean token", rb"[a-f0-9]{64}", b"dop_v1_", b"doo_v1_", b"dor_v1_"),
    (b"dapi", "a Databricks token", rb"dapi[a-f0-9]{32}" + _END),
    (b"dckr_pat_", "a Docker Hub token", rb"dckr_pat_[\w-]{27}" + _STOP),
    (b"dckr_oat_", "a Docker Hub token", rb"dckr_oat_[\w-]{32}" + _STOP),
    (b"ntn_", "a Notion token", rb"ntn_[A-Za-z0-9]{40,50}" + _END),
    (b"secret_", "a Notion token", b"secret_" + _mixed(43, 43)),
    (b"lin_api_", "a Linear key", rb"lin_api_[A-Za-z0-9]{40}" + _END),
    (b"PMAK-", "a Postman key", rb"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    *_each("a Shopify token", rb"[a-fA-F0-9]{32}", b"shpat_", b"shpss_", b"shpca_", b"shppa_"),
    (b"sq0atp-", "a Square token", rb"sq0atp-[\w-]{22}" + _STOP),
    (b"sq0csp-", "a Square secret", rb"sq0csp-[\w-]{43}" + _STOP),
    (b"HRKU-AA", "a Heroku key", rb"HRKU-AA[\w-]{58}"),
    (b"sbp_", "a Supabase token", rb"sbp_[a-f0-9]{40}" + _END),
    (b"sb_secret_", "a Supabase key", rb"sb_secret_[\w-]{31}" + _STOP),
    (b"napi_", "a Neon key", rb"napi_[a-z0-9]{64}" + _END),
    (b"pscale_", "a PlanetScale secret", rb"pscale_(?:tkn|pw|oauth)_[\w-]{32,64}"),
    (b"glsa_", "a Grafana token", rb"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    (b"glc_", "a Grafana token", rb"glc_[A-Za-z0-9+/]{32,400}"),
    (b"sntrys_", "a Sentry token", rb"sntrys_eyJ[\w+/=-]{80,400}"),
    (b"sntryu_", "a Sentry token", rb"sntryu_[a-f0-9]{64}"),
    (b"NRAK-", "a New Relic key", rb"NRAK-[A-Z0-9]{27}" + _END),
    *_each("an Atlassian token", rb"[\w=-]{180,200}", b"ATATT3", b"ATCTT3"),
    (b"figd_", "a Figma token", rb"figd_[\w-]{38,44}" + _STOP),
    (b"nfp_", "a Netlify token", rb"nfp_[A-Za-z0-9]{36,40}" + _END),
    *_each("a Vercel token", rb"[A-Za-z0-9]{24,64}" + _END, b"vcp_", b"vck_"),
    (b"rnd_", "a Render key", b"rnd_" + _mixed(28, 32)),
    (b"fo1_", "a Fly.io token", rb"fo1_[\w-]{43}" + _STOP),
    (b"fm2_", "a Fly.io token", rb"fm2_[A-Za-z0-9+/]{100,1000}"),
    (b"pul-", "a Pulumi token", rb"pul-[0-9a-f]{40}" + _END),
    *_each("a Prefect key", rb"[A-Za-z0-9]{36}" + _END, b"pnu_", b"pnb_"),
    (b"tskey-", "a Tailscale key", rb"tskey-[a-z]{3,8}-[A-Za-z0-9]{6,40}-[A-Za-z0-9]{20,64}"),
    (b"ops_eyJ", "a 1Password token", rb"ops_eyJ[A-Za-z0-9+/]{250,4096}"),
    (b"AGE-SECRET-KEY-1", "a secret key of age", rb"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    (b"b3BlbnNzaC1rZXktdjE", "a private key", rb"b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/]{40,4096}"),
    (b"SK", "a Twilio key", rb"SK[0-9a-f]{32}" + _END),
    (b"key-", "a Mailgun key", rb"key-[0-9a-f]{32}" + _END),
    (b"npm_", "an npm token", rb"npm_[A-Za-z0-9]{36}" + _END),
    (b"pypi-AgEI", "a PyPI token", rb"pypi-AgEI[\w-]{50,255}"),
    (b"rubygems_", "a RubyGems key", rb"rubygems_[0-9a-f]{48}" + _END),
    (b"oy2", "a NuGet key", rb"oy2[a-z0-9]{43}" + _END),
    (b"cio", "a crates.io token", b"cio" + _mixed(32, 32)),
    (b"AKCp", "an Artifactory key", rb"AKCp[A-Za-z0-9]{69}" + _END),
    (b"cmVmdGtu", "an Artifactory token", rb"cmVmdGtu[A-Za-z0-9]{56}" + _END),
    *_each("a SonarQube token", rb"[0-9a-f]{40}" + _END, b"squ_", b"sqp_", b"sqa_"),
    (b"r8_", "a Replicate token", rb"r8_[A-Za-z0-9]{37}" + _END),
    (b"gsk_", "a Groq API key", rb"gsk_[A-Za-z0-9]{40,64}" + _END),
    *_each("a Facebook token", rb"[A-Za-z0-9]{100,400}", b"EAAC", b"EAAG", b"EAAM"),
    *_each("a Discord bot token", _DISCORD, b"M", b"N", b"O"),
    (b"eyJ", "a JSON web token",
     rb"eyJ(?<![\w-]eyJ)[\w-]{10,4096}\.eyJ[\w-]{10,4096}\.[\w-]{10,4096}"),
)  # fmt: skip
PRIVATE_KEY = re.compile(
    rb"-{4,5} ?BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}|PuTTY-User-Key-File-\d"
)
#: What has a point or a slash within: (what every one has in it, what it is, the form, masked). A
#: form begins with letters, since those are found many times faster than what may be before them.
DOTTED: tuple[tuple[bytes, str, re.Pattern[bytes], str], ...] = tuple(
    (needle, what, re.compile(form), masked)
    for needle, what, form, masked in (
        (b"hooks.slack.com", "a Slack webhook",
         rb"hooks\.slack\.com/(?:services|workflows|triggers)/\w{1,64}/\w{1,64}/\w{16,64}",
         "hooks.slack.com/***"),
        (b".webhook.office.com/", "a Teams webhook",
         rb"\.webhook\.office\.com/webhookb2/[\w@-]{70,80}/IncomingWebhook/[0-9a-f]{32}/[\w-]{36}",
         "webhook.office.com/***"),
        (b"sig=", "an Azure signature", rb"sig=(?<=[?&;]sig=)[A-Za-z0-9+/]{43}=", "sig=***"),
        (b"SharedAccessKey=", "an Azure key", rb"SharedAccessKey=[A-Za-z0-9+/]{43}=",
         "SharedAccessKey=***"),
        (b"/api/webhooks/", "a Discord webhook",
         rb"discord(?:app)?\.com/api/webhooks/\d{16,20}/[\w-]{60,72}",
         "discord.com/api/webhooks/***"),
        (b"SG.", "a SendGrid key", rb"SG\.(?<![\w.-]SG\.)[\w-]{22}\.[\w-]{43}(?![\w-])", "SG.***"),
        (b"hvs.", "a Vault token", rb"hvs\.(?<![\w.-]hvs\.)[\w-]{24,200}", "hvs.***"),
        (b"hvb.", "a Vault token", rb"hvb\.(?<![\w.-]hvb\.)[\w-]{120,300}", "hvb.***"),
        (b"ya29.", "a Google access token", rb"ya29\.(?<![\w.-]ya29\.)[\w-]{60,1024}", "ya29.***"),
        (b"1//0", "a Google refresh token", rb"1//0(?<![\w/.-]1//0)[\w-]{40,200}", "1//0***"),
        (b"sl.", "a Dropbox token", rb"sl\.(?<![\w.-]sl\.)[\w-]{130,400}", "sl.***"),
        (b"sk.eyJ", "a Mapbox token", rb"sk\.eyJ(?<![\w.-]sk\.eyJ)[\w-]{40,200}\.[\w-]{20,30}",
         "sk.***"),
        (b"pat", "an Airtable token", rb"pat(?<![\w-]pat)[A-Za-z0-9]{14}\.[0-9a-f]{64}", "pat***"),
        (b"bce-v3/", "a Baidu key", rb"bce-v3/ALTAK-[A-Za-z0-9]{15,30}/[0-9a-f]{40}", "bce-v3/***"),
        (b"secret_", "a Lambda Cloud key",
         rb"secret_[\w-]{1,64}_[0-9a-f]{32}\.[A-Za-z0-9]{32}(?![A-Za-z0-9])", "secret_***"),
        (b"-us", "a Mailchimp key", rb"-us(?<=(?<![A-Za-z0-9])[0-9a-f]{32}-us)\d{1,2}(?!\w)",
         "***-us***"),
        (b"JQQJ9", "an Azure key", rb"JQQJ9(?<=(?<!\w)\w{52}JQQJ9)[A-Za-z0-9]{27}(?!\w)", "***"),
        (b".", "a Z.ai key",
         rb"\.(?<=(?<!\w)[0-9a-f]{32}\.)(?=[a-z]{0,15}[A-Z\d])[A-Za-z0-9]{16}(?![\w.])", "***"),
        (b"dp.", "a Doppler token",
         rb"dp\.(?<![\w.-]dp\.)(?:pt|ct|sa|scim|audit|st(?:\.[\w-]{2,35})?)\.[A-Za-z0-9]{40,44}",
         "dp.***"),
        (b".atlasv1.", "a Terraform token",
         rb"\.atlasv1\.(?<=[A-Za-z0-9]{14}\.atlasv1\.)[\w=-]{60,70}",
         "atlasv1.***"),
        (b"v1.0-", "a Cloudflare key", rb"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}", "v1.0-***"),
        (b"AccountKey=", "an Azure storage key", rb"AccountKey=[A-Za-z0-9+/]{86}==",
         "AccountKey=***"),
        (b"Q~", "an Azure client secret",
         rb"Q~(?<=[\w~.-]{3}\dQ~)(?<![\w~.-]{4}\dQ~)[\w~.-]{31,34}(?![\w~.-])", "Q~***"),
        (b":AA", "a Telegram bot token",
         rb":AA(?:(?<=(?<![\w:])\d{8}:AA)|(?<=(?<![\w:])\d{9}:AA)|(?<=(?<![\w:])\d{10}:AA))"
         rb"[\w-]{33}(?![\w-])", "***:AA***"),
    )
)  # fmt: skip
