use axum::Json;
use axum::extract::{Path, State};
use portcullis::{Account, AuthError, Fault, Identity, Instances, Rejection, Requirement};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, ExprTrait, QueryFilter,
};
use uuid::Uuid;

portcullis::permissions! { doc: Read, Edit; }

/// `POST /docs`: the owner comes from the session, never from the body.
async fn create(
    account: Account,
    State(db): State<DatabaseConnection>,
    title: String,
) -> Result<Json<Uuid>, Rejection> {
    let (id, owner_id) = (Uuid::now_v7(), account.id().as_uuid());
    let row = document::ActiveModel { id: Set(id), owner_id: Set(owner_id), title: Set(title) };
    document::Entity::insert(row).exec_without_returning(&db).await.map_err(Fault::from)?;
    Ok(Json(id))
}

/// `PUT /docs/{id}`: for the owner, and for everyone who may edit it.
async fn edit(
    identity: Identity,
    State(db): State<DatabaseConnection>,
    Path(id): Path<Uuid>,
    title: String,
) -> Result<(), Rejection> {
    let may = Requirement::typed(doc::Edit).on(&id.to_string()).map_err(|_| AuthError::Denied)?;
    let mut query = document::Entity::update_many()
        .col_expr(document::Column::Title, Expr::value(title))
        .filter(document::Column::Id.eq(id));
    if !identity.meets(&may) {
        // The statement contains the check, so nothing can change between the check and the write.
        query = query.filter(document::Column::OwnerId.eq(identity.account().id().as_uuid()));
    }
    let changed = query.exec(&db).await.map_err(Fault::from)?;
    // The same answer for a document of another person and for one that does not exist.
    if changed.rows_affected == 0 { Err(AuthError::NoSuchInstance.into()) } else { Ok(()) }
}

/// `GET /docs`: the user's own documents, and those that were shared with the user.
async fn list(
    identity: Identity,
    State(db): State<DatabaseConnection>,
) -> Result<Json<Vec<String>>, Rejection> {
    let query = match identity.instances(doc::Read) {
        Instances::All => document::Entity::find(),
        Instances::Only(ids) => {
            let ids = ids.iter().filter_map(|id| id.parse().ok()).collect::<Vec<Uuid>>();
            let mine = document::Column::OwnerId.eq(identity.account().id().as_uuid());
            document::Entity::find().filter(mine.or(document::Column::Id.is_in(ids)))
        }
    };
    let found = query.all(&db).await.map_err(Fault::from)?;
    Ok(Json(found.into_iter().map(|document| document.title).collect()))
}

/// Every route needs a signed-in account. The handlers decide the rest.
pub fn app(auth: &portcullis::Portcullis, db: DatabaseConnection) -> axum::Router {
    use axum::routing::{get, put};

    auth.router()
        .route("/docs", get(list).post(create), Requirement::signed_in())
        .route("/docs/{id}", put(edit), Requirement::signed_in())
        .with_state(db)
        .into_router()
}

mod document {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "document")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub owner_id: Uuid,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
