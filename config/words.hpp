#pragma once

#include "config/config.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

/// The words of the file for each set of choices, in the order in which messages list them.
namespace pgleash::config {

template <typename Choice>
struct Word {
  std::string_view text;
  Choice value;
};

inline constexpr std::array log_format_words{Word<LogFormat>{"auto", LogFormat::automatic},
                                             Word<LogFormat>{"text", LogFormat::text},
                                             Word<LogFormat>{"json", LogFormat::json}};
inline constexpr std::array engine_words{Word<Engine>{"epoll", Engine::epoll},
                                         Word<Engine>{"io_uring", Engine::io_uring},
                                         Word<Engine>{"auto", Engine::automatic}};
inline constexpr std::array mode_words{Word<Mode>{"observe", Mode::observe},
                                       Word<Mode>{"enforce", Mode::enforce}};
inline constexpr std::array challenge_words{
    Word<RequireChallenge>{"remote", RequireChallenge::remote},
    Word<RequireChallenge>{"always", RequireChallenge::always},
    Word<RequireChallenge>{"never", RequireChallenge::never}};
inline constexpr std::array listener_tls_words{
    Word<ListenerTlsMode>{"off", ListenerTlsMode::off},
    Word<ListenerTlsMode>{"prefer", ListenerTlsMode::prefer},
    Word<ListenerTlsMode>{"require", ListenerTlsMode::require},
    Word<ListenerTlsMode>{"opaque", ListenerTlsMode::opaque}};
inline constexpr std::array scram_words{Word<Scram>{"pass", Scram::pass},
                                        Word<Scram>{"reoriginate", Scram::reoriginate}};
inline constexpr std::array suffix_words{
    Word<ApplicationNameSuffix>{"off", ApplicationNameSuffix::off},
    Word<ApplicationNameSuffix>{"address", ApplicationNameSuffix::address},
    Word<ApplicationNameSuffix>{"address_port", ApplicationNameSuffix::address_port}};
inline constexpr std::array proxy_protocol_words{
    Word<ProxyProtocol>{"off", ProxyProtocol::off},
    Word<ProxyProtocol>{"require", ProxyProtocol::require}};
inline constexpr std::array client_cert_words{
    Word<ClientCertificate>{"request", ClientCertificate::request},
    Word<ClientCertificate>{"require", ClientCertificate::require}};
inline constexpr std::array ssl_mode_words{Word<SslMode>{"disable", SslMode::disable},
                                           Word<SslMode>{"allow", SslMode::allow},
                                           Word<SslMode>{"prefer", SslMode::prefer},
                                           Word<SslMode>{"require", SslMode::require},
                                           Word<SslMode>{"verify-ca", SslMode::verify_ca},
                                           Word<SslMode>{"verify-full", SslMode::verify_full}};
inline constexpr std::array tls_negotiation_words{
    Word<TlsNegotiation>{"postgres", TlsNegotiation::postgres},
    Word<TlsNegotiation>{"direct", TlsNegotiation::direct}};
inline constexpr std::array tls_version_words{Word<TlsVersion>{"1.2", TlsVersion::v1_2},
                                              Word<TlsVersion>{"1.3", TlsVersion::v1_3}};
inline constexpr std::array client_gone_words{Word<OnClientGone>{"cancel", OnClientGone::cancel},
                                              Word<OnClientGone>{"finish", OnClientGone::finish}};
inline constexpr std::array client_kind_words{
    Word<ClientKind>{"application", ClientKind::application},
    Word<ClientKind>{"pooler", ClientKind::pooler}};
inline constexpr std::array quota_key_words{
    Word<QuotaKey>{"application", QuotaKey::application}, Word<QuotaKey>{"user", QuotaKey::user},
    Word<QuotaKey>{"database", QuotaKey::database}, Word<QuotaKey>{"address", QuotaKey::address}};
inline constexpr std::array direct_words{Word<DirectSessions>{"count", DirectSessions::count},
                                         Word<DirectSessions>{"judge", DirectSessions::judge}};
inline constexpr std::array kind_words{
    Word<RuleKind>{"idle", RuleKind::idle},
    Word<RuleKind>{"idle_in_transaction", RuleKind::idle_in_transaction},
    Word<RuleKind>{"aborted", RuleKind::aborted},
    Word<RuleKind>{"held", RuleKind::held},
    Word<RuleKind>{"stalled", RuleKind::stalled},
    Word<RuleKind>{"statement", RuleKind::statement},
    Word<RuleKind>{"transaction_age", RuleKind::transaction_age},
    Word<RuleKind>{"session_age", RuleKind::session_age},
    Word<RuleKind>{"sent_bytes", RuleKind::sent_bytes},
    Word<RuleKind>{"rows", RuleKind::rows},
    Word<RuleKind>{"temp_bytes", RuleKind::temp_bytes},
    Word<RuleKind>{"xmin_age", RuleKind::xmin_age},
    Word<RuleKind>{"locks", RuleKind::locks},
    Word<RuleKind>{"parallel_workers", RuleKind::parallel_workers},
    Word<RuleKind>{"cpu_time", RuleKind::cpu_time},
    Word<RuleKind>{"cpu_share", RuleKind::cpu_share},
    Word<RuleKind>{"memory", RuleKind::memory},
    Word<RuleKind>{"read_rate", RuleKind::read_rate},
    Word<RuleKind>{"write_rate", RuleKind::write_rate},
    Word<RuleKind>{"wal", RuleKind::wal},
    Word<RuleKind>{"blocking", RuleKind::blocking},
    Word<RuleKind>{"group", RuleKind::group}};
inline constexpr std::array victim_words{
    Word<Victim>{"auto", Victim::automatic}, Word<Victim>{"root", Victim::root},
    Word<Victim>{"queue_head", Victim::queue_head}, Word<Victim>{"none", Victim::none}};
inline constexpr std::array group_by_words{Word<GroupBy>{"fingerprint", GroupBy::fingerprint},
                                           Word<GroupBy>{"application", GroupBy::application},
                                           Word<GroupBy>{"client", GroupBy::client}};
inline constexpr std::array group_victims_words{
    Word<GroupVictims>{"oldest", GroupVictims::oldest},
    Word<GroupVictims>{"all", GroupVictims::all},
    Word<GroupVictims>{"all_but_oldest", GroupVictims::all_but_oldest}};
inline constexpr std::array action_words{
    Word<Action>{"observe", Action::observe}, Word<Action>{"cancel", Action::cancel},
    Word<Action>{"terminate", Action::terminate}, Word<Action>{"escalate", Action::escalate}};
inline constexpr std::array notify_words{Word<Notify>{"eager", Notify::eager},
                                         Word<Notify>{"on_next_use", Notify::on_next_use}};
inline constexpr std::array leak_action_words{Word<Action>{"observe", Action::observe},
                                              Word<Action>{"terminate", Action::terminate}};
inline constexpr std::array identity_source_words{
    Word<IdentitySource>{"application_name", IdentitySource::application_name},
    Word<IdentitySource>{"listener", IdentitySource::listener},
    Word<IdentitySource>{"client_map", IdentitySource::client_map},
    Word<IdentitySource>{"user_database", IdentitySource::user_database}};
inline constexpr std::array sink_words{Word<AuditSink>{"off", AuditSink::off},
                                       Word<AuditSink>{"file", AuditSink::file},
                                       Word<AuditSink>{"stdout", AuditSink::standard_output}};
inline constexpr std::array webhook_event_words{
    Word<WebhookEvent>{"ended", WebhookEvent::ended},
    Word<WebhookEvent>{"survived", WebhookEvent::survived},
    Word<WebhookEvent>{"fuse", WebhookEvent::fuse}, Word<WebhookEvent>{"leak", WebhookEvent::leak}};
inline constexpr std::array fsync_words{Word<bool>{"each", true}, Word<bool>{"off", false}};
inline constexpr std::array statement_text_words{
    Word<StatementTextPolicy>{"none", StatementTextPolicy::none},
    Word<StatementTextPolicy>{"fingerprint", StatementTextPolicy::fingerprint},
    Word<StatementTextPolicy>{"full", StatementTextPolicy::full}};

/// The word for a value; empty for one that is out of the enumeration.
template <typename Choice, std::size_t Count>
[[nodiscard]] constexpr std::string_view word_for(const std::array<Word<Choice>, Count>& words,
                                                  Choice value) noexcept {
  for (const auto& word : words) {
    if (word.value == value) return word.text;
  }
  return {};
}

}  // namespace pgleash::config
