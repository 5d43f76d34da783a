//! What people do with an application that knows nothing of login: their own things, nobody else's,
//! and the back office.

use serde_json::{Value, json};

use super::servers::{Application, Gate, Program, RECIPES, Server, data, manage, node};
use crate::wire;

/// And by nobody's name.
fn without_a_token_only_what_the_config_opens(gate: &Gate, app: &Application, one: &str) {
    for (method, path) in [
        ("GET", app.things),
        ("POST", app.things),
        ("GET", app.me),
        ("GET", app.users),
        ("GET", one),
    ] {
        let refused = gate.ask(method, path);
        assert_eq!(
            (refused.status, refused.error()),
            (401, Some("token_missing")),
            "{method} {path}"
        );
    }
    assert_eq!(
        data(&gate.ask("GET", app.count)),
        json!({ "all": 1, "mine": null })
    );
}

/// A day of a shop, or of recipes.
fn the_story(program: Program) {
    let server = Server::on_a_port(program, &[]);
    let app = server.application;
    let gate = Gate::before(app, &server.url, &[]);
    let (alice, bob) = (gate.login("alice-1"), gate.login("bob-1"));

    // The row is there on first sight, under the id that menshen gave.
    assert!(
        alice.id.as_u64().expect("an integer") >= 1_000_000,
        "{}",
        alice.id
    );
    assert_ne!(alice.id, bob.id);
    assert_eq!(alice.get(app.me)["id"], alice.id);

    // What somebody makes is theirs, whatever the body says.
    for name in ["one", "two"] {
        let answer = alice
            .create(&json!({ app.field: name, app.owner: bob.id, "id": 77, "user_id": bob.id }));
        assert_eq!((answer.status, &data(&answer)[app.owner]), (201, &alice.id));
    }
    assert_eq!(alice.create(&json!({ app.field: "" })).status, 400);
    let mine = alice.get(app.things);
    let names: Vec<_> = mine
        .as_array()
        .expect("a list")
        .iter()
        .map(|thing| thing[app.field].clone())
        .collect();
    assert_eq!(names, ["two", "one"]);

    // Nobody else sees or touches it.
    let one = (app.thing)(&mine[0]["id"]);
    assert_eq!(alice.get(&one)[app.field], "two");
    assert_eq!(bob.get(app.things), json!([]));
    assert_eq!(
        (bob.ask("GET", &one).status, bob.ask("DELETE", &one).status),
        (404, 404)
    );
    assert_eq!(alice.get(&one)[app.field], "two");
    assert!((200..=204).contains(&alice.ask("DELETE", &one).status));
    assert_eq!(alice.get(app.things).as_array().map(Vec::len), Some(1));

    without_a_token_only_what_the_config_opens(&gate, app, &one);
    assert_eq!(
        (
            alice.get(app.count)["mine"].clone(),
            bob.get(app.count)["mine"].clone()
        ),
        (json!(1), json!(0))
    );

    // The back office is for administrators.
    let refused = alice.ask("GET", app.users);
    assert_eq!((refused.status, refused.error()), (403, Some("forbidden")));
    let boss = gate.administrator();
    let users = boss.get(app.users);
    let ids: Vec<_> = users
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| user["id"].clone())
        .collect();
    for id in [&alice.id, &bob.id, &boss.id] {
        assert_eq!(
            ids.iter().filter(|known| *known == id).count(),
            1,
            "{id} in {users}"
        );
    }

    many_first_requests_make_one_row(&gate, &boss.get(app.users), || boss.get(app.users), app.me);
    the_backend_itself_refuses(&server);

    // A sign-out is menshen's, and bites here at once.
    assert_eq!(
        gate.menshen
            .post(
                "/auth/logout",
                &[("Authorization", &bob.bearer)],
                &json!({})
            )
            .status,
        204
    );
    assert_eq!(bob.ask("GET", app.things).status, 401);
}

fn many_first_requests_make_one_row(
    gate: &Gate,
    before: &Value,
    users: impl Fn() -> Value,
    me: &str,
) {
    let carol = gate.login("carol-1");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| carol.ask("GET", me)))
            .collect();
        asking
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    for answer in &answers {
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        assert_eq!(data(answer)["id"], carol.id);
    }
    let count = |list: &Value| list.as_array().map(Vec::len).expect("a list");
    assert_eq!(count(&users()), count(before) + 1);
}

/// Without menshen's word nobody is anybody, and a user is no administrator.
fn the_backend_itself_refuses(server: &Server) {
    let app = server.application;
    let (signed_in, somebody) = (("X-Auth-State", "authenticated"), ("X-User-Id", "1000000"));
    let nobody: [&[(&str, &str)]; 6] = [
        &[],
        &[somebody, ("X-User-Type", "admin")],
        &[
            ("X-Auth-State", "anonymous"),
            somebody,
            ("X-User-Type", "admin"),
        ],
        &[signed_in, ("X-User-Type", "admin")],
        &[signed_in, ("X-User-Id", "0"), ("X-User-Type", "admin")],
        &[signed_in, somebody, somebody, ("X-User-Type", "admin")],
    ];
    for headers in nobody {
        for path in [app.things, app.users] {
            assert_eq!(
                server.ask("GET", path, headers).status,
                401,
                "{path} {headers:?}"
            );
        }
    }
    for user_type in ["user", "Admin", "admin,user", ""] {
        let headers = [signed_in, somebody, ("X-User-Type", user_type)];
        assert_eq!(
            server.ask("GET", app.users, &headers).status,
            403,
            "{user_type}"
        );
        assert_eq!(
            server.ask("GET", app.things, &headers).status,
            200,
            "{user_type}"
        );
    }
}

#[test]
fn a_shop_under_gunicorn_has_users_and_no_login() {
    the_story(Program::Gunicorn);
}

#[test]
fn a_shop_under_uvicorn_has_users_and_no_login() {
    the_story(Program::Uvicorn);
}

#[test]
fn recipes_under_nest_have_users_and_no_login() {
    the_story(Program::Node);
}

#[test]
fn the_guard_of_nest_makes_one_row_where_all_find_none() {
    let said = node(&RECIPES, &["test/first-sight.test.js"]);
    assert!(
        said.contains(" pass 1\n") && said.contains(" fail 0\n"),
        "{said}"
    );
}

/// What stands in a page after these words, up to the next quotation mark.
fn after(page: &str, words: &str) -> String {
    let rest = page
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words} in {page}"))
        .1;
    rest.split(['"', ';']).next().expect("a value").to_owned()
}

#[test]
fn a_browser_works_in_the_admin_site_of_django_by_a_cookie() {
    let server = Server::on_a_port(Program::Uvicorn, &[]);
    let gate = Gate::before(server.application, &server.url, &[]);
    let boss = gate.administrator();
    let cookie = boss.bearer.replace("Bearer ", "back_office=");
    let path = "/admin/orders/order/add/";
    let form = gate.menshen.get(path, &[("Cookie", &cookie)]);
    assert_eq!(form.status, 200);
    let (set, page) = (
        form.header("Set-Cookie").expect("a cookie"),
        String::from_utf8_lossy(&form.body),
    );
    let cookies = format!("{cookie}; csrftoken={}", after(set, "csrftoken="));
    let crumb = after(&page, "name=\"csrfmiddlewaretoken\" value=\"");
    let post = |origin: &str, crumb: &str| {
        let body = format!(
            "csrfmiddlewaretoken={crumb}&owner={}&item=tea&_save=Save",
            boss.id
        );
        let headers = [
            ("Cookie", cookies.as_str()),
            ("Origin", origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        wire::ask(gate.menshen.http, "POST", path, &headers, body.as_bytes())
    };
    let own = "http://shop.example";
    let (foreign, guessed) = (
        post("https://evil.example", &crumb),
        post(own, &"x".repeat(crumb.len())),
    );
    assert_eq!(
        (foreign.status, foreign.error()),
        (403, Some("forbidden")),
        "menshen's to refuse"
    );
    assert_eq!(
        (guessed.status, guessed.error()),
        (403, None),
        "Django's to refuse"
    );
    assert_eq!(boss.get(server.application.things), json!([]));
    assert_eq!(post(own, &crumb).status, 302);
    assert_eq!(boss.get(server.application.things)[0]["item"], "tea");
    // Nowhere else.
    assert_eq!(
        gate.menshen
            .get(server.application.things, &[("Cookie", &cookie)])
            .status,
        401
    );
}

#[test]
fn the_admin_site_of_django_is_for_menshens_administrators() {
    let server = Server::on_a_port(Program::Gunicorn, &[]);
    let gate = Gate::before(server.application, &server.url, &[]);
    let (boss, alice) = (gate.administrator(), gate.login("alice-1"));
    assert_eq!(alice.get(server.application.me)["id"], alice.id);
    for (path, shows) in [
        ("/admin/".to_owned(), "Site administration"),
        ("/admin/orders/order/add/".to_owned(), "Add order"),
        (
            format!("/admin/users/user/{}/change/", alice.id),
            "is_active",
        ),
    ] {
        let page = boss.ask("GET", &path);
        assert_eq!(page.status, 200, "{path}");
        assert!(
            String::from_utf8_lossy(&page.body).contains(shows),
            "{path}"
        );
        let refused = alice.ask("GET", &path);
        assert_eq!(
            (refused.status, refused.error()),
            (403, Some("forbidden")),
            "{path}"
        );
        let user = [
            ("X-Auth-State", "authenticated"),
            ("X-User-Id", "1000000"),
            ("X-User-Type", "user"),
        ];
        assert_eq!(
            server.ask("GET", &path, &user).status,
            403,
            "{path}: the second wall"
        );
        assert_eq!(
            server.ask("GET", &path, &[]).status,
            401,
            "{path}: no way to a login page"
        );
    }
    for method in ["GET", "POST"] {
        assert!(
            matches!(server.ask(method, "/admin/login/", &[]).status, 401 | 403),
            "{method}: there is no form"
        );
    }
    // The row of an administrator is nobody's right: it says nothing of staff, and a cookie of
    // before opens nothing.
    let says = format!(
        "from users.models import User\nfrom django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY\n\
         from django.contrib.sessions.backends.db import SessionStore\nboss = User.objects.get(pk={})\n\
         assert not boss.is_staff and not boss.is_superuser and not boss.has_usable_password()\nboss.is_staff = boss.is_superuser = True\n\
         boss.save()\nold = SessionStore(session_key='before')\nold[SESSION_KEY] = str(boss.pk)\n\
         old[BACKEND_SESSION_KEY] = 'django.contrib.auth.backends.ModelBackend'\nold[HASH_SESSION_KEY] = boss.get_session_auth_hash()\n\
         old.save(must_create=True)\nUser.objects.filter(pk={}).update(is_active=False)",
        boss.id, alice.id
    );
    manage(&server.database(), &["shell", "--no-imports", "-c", &says]);
    for path in ["/admin/", "/api/orders/"] {
        assert_eq!(
            server
                .ask("GET", path, &[("Cookie", "sessionid=before")])
                .status,
            401,
            "{path}"
        );
    }
    // A row that the backend has switched off stays off, whatever menshen says of its user.
    assert_eq!(
        (
            alice.ask("GET", "/api/orders/").status,
            boss.ask("GET", "/api/orders/").status
        ),
        (401, 200)
    );
}
