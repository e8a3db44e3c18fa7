"""The forms of tokens and keys, as their issuers document them and as collected in the rules of
gitleaks 8 (https://github.com/gitleaks/gitleaks, MIT).

detect-secrets 1.5 was tried in place of this table: it knows no Hugging Face token, takes 0.4 s to
import and 3 s for 20,000 lines of a vocabulary.
"""

from __future__ import annotations

import re

#: The number of a bot, whose digits leave base64 only these letters; then a time, and the secret.
_DISCORD = (
    rb"[DTjz][AEIMQUYcgk][w-z0-5](?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){4,5}\w{0,4}"
    rb"\.[\w-]{6}\.[\w-]{27,38}(?![\w-])"
)
#: prefix -> (what it is, the whole form). Lengths are bounded, so that hostile text stays linear.
TOKENS: tuple[tuple[bytes, str, bytes], ...] = (
    (b"hf_", "a Hugging Face token", rb"hf_[A-Za-z0-9]{30,64}(?![A-Za-z0-9])"),
    (b"api_org_", "a Hugging Face organisation token", rb"api_org_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    (b"hf_oauth_", "a Hugging Face token", rb"hf_oauth_[\w-]{20,4096}"),
    (b"hf_jwt_", "a Hugging Face token", rb"hf_jwt_[\w-]{20,4096}"),
    (b"AKIA", "an AWS access key", rb"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ASIA", "an AWS access key", rb"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ABIA", "an AWS access key", rb"ABIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ACCA", "an AWS access key", rb"ACCA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"ABSK", "an AWS Bedrock key", rb"ABSK[A-Za-z0-9+/]{100,300}"),
    (b"IQoJb3JpZ2lu", "an AWS session token", rb"IQoJb3JpZ2lu[A-Za-z0-9+/]{100,2000}"),
    (b"FwoGZXIvYXdz", "an AWS session token", rb"FwoGZXIvYXdz[A-Za-z0-9+/]{100,2000}"),
    (b"LTAI", "an Alibaba access key", rb"LTAI[A-Za-z0-9]{20}(?![A-Za-z0-9])"),
    (b"ghp_", "a GitHub token", rb"ghp_[A-Za-z0-9]{36,255}"),
    (b"gho_", "a GitHub token", rb"gho_[A-Za-z0-9]{36,255}"),
    (b"ghu_", "a GitHub token", rb"ghu_[A-Za-z0-9]{36,255}"),
    (b"ghs_", "a GitHub token", rb"ghs_[A-Za-z0-9]{36,255}"),
    (b"ghr_", "a GitHub token", rb"ghr_[A-Za-z0-9]{36,255}"),
    (b"github_pat_", "a GitHub token", rb"github_pat_\w{36,255}"),
    (b"glpat-", "a GitLab token", rb"glpat-[\w-]{20,255}"),
    (b"glrt-", "a GitLab token", rb"glrt-[\w-]{20,255}"),
    (b"gldt-", "a GitLab token", rb"gldt-[\w-]{20,255}"),
    (b"glptt-", "a GitLab token", rb"glptt-[a-f0-9]{40}"),
    (b"glcbt-", "a GitLab token", rb"glcbt-[\w-]{20,255}"),
    (b"ATBB", "a Bitbucket token", rb"ATBB[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    (b"sess-", "a session key of OpenAI", rb"sess-[A-Za-z0-9]{40}(?![A-Za-z0-9])"),
    (b"csk-", "a Cerebras API key", rb"csk-[a-z0-9]{48}(?![A-Za-z0-9])"),
    (b"tgp_v1_", "a Together API key", rb"tgp_v1_[\w-]{40,60}(?![\w-])"),
    (b"fw_", "a Fireworks API key",
     rb"fw_(?=[A-Za-z]{0,23}\d)[A-Za-z0-9]{22,24}(?![A-Za-z0-9])"),
    (b"sk-", "an API key of OpenAI's form",
     rb"sk-(?:(?:proj|svcacct|admin|ant|or)-[\w-]{20,255}|[A-Za-z0-9]{32,255}"
     rb"|(?=[A-Za-z]{0,31}\d)[A-Za-z0-9]{20,31})(?![A-Za-z0-9])"),
    (b"xox", "a Slack token", rb"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    (b"xapp-", "a Slack token", rb"xapp-\d-[A-Za-z0-9-]{10,255}"),
    (b"AIza", "a Google API key", rb"AIza[\w-]{35}(?![\w-])"),
    (b"GOCSPX-", "a Google client secret", rb"GOCSPX-[\w-]{28}(?![\w-])"),
    (b"sk_live_", "a Stripe key", rb"sk_live_[A-Za-z0-9]{16,128}"),
    (b"rk_live_", "a Stripe key", rb"rk_live_[A-Za-z0-9]{16,128}"),
    (b"sk_test_", "a Stripe key", rb"sk_test_[A-Za-z0-9]{16,128}"),
    (b"sk_", "an ElevenLabs key", rb"sk_[0-9a-f]{48}(?![A-Za-z0-9])"),
    (b"pplx-", "a Perplexity API key", rb"pplx-[A-Za-z0-9]{48}(?![A-Za-z0-9])"),
    (b"xai-", "an xAI API key", rb"xai-[A-Za-z0-9]{70,90}(?![A-Za-z0-9])"),
    (b"nvapi-", "an NVIDIA API key", rb"nvapi-[\w-]{50,80}(?![\w-])"),
    (b"wandb_v1_", "a Weights & Biases key", rb"wandb_v1_[\w-]{60,120}"),
    (b"pcsk_", "a Pinecone key", rb"pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{50,80}"),
    (b"lsv2_", "a LangSmith key", rb"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    (b"rpa_", "a RunPod key", rb"rpa_[A-Za-z0-9]{40,50}(?![A-Za-z0-9])"),
    (b"tvly-", "a Tavily key", rb"tvly-(?:dev-|prod-)?[A-Za-z0-9]{32}(?![A-Za-z0-9])"),
    (b"KGAT_", "a Kaggle token", rb"KGAT_[0-9a-f]{32}(?![A-Za-z0-9])"),
    (b"dop_v1_", "a DigitalOcean token", rb"dop_v1_[a-f0-9]{64}"),
    (b"doo_v1_", "a DigitalOcean token", rb"doo_v1_[a-f0-9]{64}"),
    (b"dor_v1_", "a DigitalOcean token", rb"dor_v1_[a-f0-9]{64}"),
    (b"dapi", "a Databricks token", rb"dapi[a-f0-9]{32}(?![A-Za-z0-9])"),
    (b"dckr_pat_", "a Docker Hub token", rb"dckr_pat_[\w-]{27}(?![\w-])"),
    (b"ntn_", "a Notion token", rb"ntn_[A-Za-z0-9]{40,50}(?![A-Za-z0-9])"),
    (b"lin_api_", "a Linear key", rb"lin_api_[A-Za-z0-9]{40}(?![A-Za-z0-9])"),
    (b"PMAK-", "a Postman key", rb"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    (b"shpat_", "a Shopify token", rb"shpat_[a-fA-F0-9]{32}"),
    (b"shpss_", "a Shopify secret", rb"shpss_[a-fA-F0-9]{32}"),
    (b"HRKU-AA", "a Heroku key", rb"HRKU-AA[\w-]{58}"),
    (b"sbp_", "a Supabase token", rb"sbp_[a-f0-9]{40}(?![A-Za-z0-9])"),
    (b"pscale_", "a PlanetScale secret", rb"pscale_(?:tkn|pw|oauth)_[\w-]{32,64}"),
    (b"glsa_", "a Grafana token", rb"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}"),
    (b"glc_", "a Grafana token", rb"glc_[A-Za-z0-9+/]{32,400}"),
    (b"sntrys_", "a Sentry token", rb"sntrys_eyJ[\w+/=-]{80,400}"),
    (b"sntryu_", "a Sentry token", rb"sntryu_[a-f0-9]{64}"),
    (b"NRAK-", "a New Relic key", rb"NRAK-[A-Z0-9]{27}(?![A-Za-z0-9])"),
    (b"ATATT3", "an Atlassian token", rb"ATATT3[\w=-]{180,200}"),
    (b"figd_", "a Figma token", rb"figd_[\w-]{38,44}(?![\w-])"),
    (b"nfp_", "a Netlify token", rb"nfp_[A-Za-z0-9]{36,40}(?![A-Za-z0-9])"),
    (b"fo1_", "a Fly.io token", rb"fo1_[\w-]{43}(?![\w-])"),
    (b"ops_eyJ", "a 1Password token", rb"ops_eyJ[A-Za-z0-9+/]{250,4096}"),
    (b"AGE-SECRET-KEY-1", "a secret key of age", rb"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    (b"SK", "a Twilio key", rb"SK[0-9a-f]{32}(?![A-Za-z0-9])"),
    (b"key-", "a Mailgun key", rb"key-[0-9a-f]{32}(?![A-Za-z0-9])"),
    (b"npm_", "an npm token", rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    (b"pypi-AgEI", "a PyPI token", rb"pypi-AgEI[\w-]{50,255}"),
    (b"r8_", "a Replicate token", rb"r8_[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    (b"gsk_", "a Groq API key", rb"gsk_[A-Za-z0-9]{40,64}(?![A-Za-z0-9])"),
    *((letter, "a Discord bot token", letter + _DISCORD) for letter in (b"M", b"N", b"O")),
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
        (b"hvs.", "a Vault token", rb"hvs\.(?<![\w.-]hvs\.)[\w-]{90,120}", "hvs.***"),
        (b"dp.pt.", "a Doppler token", rb"dp\.pt\.(?<![\w.-]dp\.pt\.)[A-Za-z0-9]{40,44}",
         "dp.pt.***"),
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
